#pragma once

#include <string>
#include <vector>

// The instruction sets a kernel source is compiled for, poorest first; CMakeLists.txt holds the same list with its
// flags. Each compilation defines PYEMO_ISA as one of the names and puts everything into the namespace
// pyemo::PYEMO_ISA, so that no inline function or template compiled with wider instructions can replace, at link time,
// the one that older machines run. X(isa, argument) for each of them:
#if defined(PYEMO_HAS_BF16)
#define PYEMO_FOR_EACH_ISA(X, argument) \
    X(baseline, argument) X(avx2, argument) X(avx512, argument) X(avx512_bf16, argument) X(amx, argument)
#elif defined(__x86_64__)
#define PYEMO_FOR_EACH_ISA(X, argument) X(baseline, argument) X(avx2, argument) X(avx512, argument)
#elif defined(__aarch64__)
#define PYEMO_FOR_EACH_ISA(X, argument) X(neon, argument)
#else
#define PYEMO_FOR_EACH_ISA(X, argument) X(baseline, argument)
#endif

namespace pyemo {

enum class Isa : int {
#define PYEMO_ENUMERATOR(isa, _) isa,
    PYEMO_FOR_EACH_ISA(PYEMO_ENUMERATOR, )
#undef PYEMO_ENUMERATOR
};

// The instruction set in use: the environment variable PYEMO_ISA if set when the library is loaded, else the richest
// the machine has. Throws std::invalid_argument if PYEMO_ISA is unknown or the machine lacks it.
Isa active_isa();
void set_active_isa(const std::string& isa);

const char* name(Isa isa);
std::vector<Isa> supported_isas();

}  // namespace pyemo

// At file scope: pyemo::getter() returns the `const Table&` that the function of the same name in the active
// instruction set's namespace returns. Each compilation of the kernel source defines that function.
#define PYEMO_DISPATCH(Table, getter)                                               \
    namespace pyemo {                                                               \
    PYEMO_FOR_EACH_ISA(PYEMO_DISPATCH_DECLARE, Table& getter)                       \
    static const Table& getter() {                                                  \
        switch (active_isa()) { PYEMO_FOR_EACH_ISA(PYEMO_DISPATCH_RETURN, getter) } \
        __builtin_unreachable();                                                    \
    }                                                                               \
    }
#define PYEMO_DISPATCH_DECLARE(isa, declaration) \
    namespace isa {                              \
    const declaration();                         \
    }
#define PYEMO_DISPATCH_RETURN(isa, getter) \
    case Isa::isa:                         \
        return isa::getter();
