#include "common/isa.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#if defined(PYEMO_HAS_BF16)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pyemo {

namespace {

constexpr Isa kAll[] = {
#define PYEMO_ENUMERATOR(isa, _) Isa::isa,
    PYEMO_FOR_EACH_ISA(PYEMO_ENUMERATOR, )
#undef PYEMO_ENUMERATOR
};

#if defined(PYEMO_HAS_BF16)
bool machine_has_amx() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
    constexpr unsigned kTileBf16 = 1u << 24 | 1u << 22;
    if ((edx & kTileBf16) != kTileBf16) return false;
    // Linux gives the tile registers, and the room to save them in, only to processes that ask.
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

bool machine_has(Isa isa) {
#if defined(__x86_64__)
    // These also ask the operating system whether it saves the wide registers.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (isa == Isa::avx2) return avx2;
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isa == Isa::avx512) return avx512;
#if defined(PYEMO_HAS_BF16)
    const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    if (isa == Isa::avx512_bf16) return bf16;
    if (isa == Isa::amx) {
        static const bool amx = machine_has_amx();
        return bf16 && amx;
    }
#endif
#endif
    return isa == kAll[0];
}

std::string join(const std::vector<Isa>& isas) {
    std::string text;
    for (Isa isa : isas) text += (text.empty() ? "" : ", ") + std::string(name(isa));
    return text;
}

Isa parse(const std::string& wanted) {
    for (Isa isa : kAll) {
        if (wanted != name(isa)) continue;
        if (machine_has(isa)) return isa;
        throw std::invalid_argument("this machine does not support the instruction set '" + wanted + "'; it has " +
                                    join(supported_isas()));
    }
    throw std::invalid_argument("unknown instruction set '" + wanted + "'; this build has " +
                                join({std::begin(kAll), std::end(kAll)}));
}

std::atomic<Isa>& current() {
    static std::atomic<Isa> isa = [] {
        const char* forced = std::getenv("PYEMO_ISA");
        if (!forced || !*forced) return supported_isas().back();
        try {
            return parse(forced);
        } catch (const std::invalid_argument& error) {
            throw std::invalid_argument(std::string("PYEMO_ISA: ") + error.what());
        }
    }();
    return isa;
}

}  // namespace

Isa active_isa() { return current().load(std::memory_order_relaxed); }

void set_active_isa(const std::string& isa) { current() = parse(isa); }

const char* name(Isa isa) {
    switch (isa) {
#define PYEMO_CASE(isa, _) \
    case Isa::isa:         \
        return #isa;
        PYEMO_FOR_EACH_ISA(PYEMO_CASE, )
#undef PYEMO_CASE
    }
    return "unknown";
}

std::vector<Isa> supported_isas() {
    std::vector<Isa> isas;
    for (Isa isa : kAll) {
        if (machine_has(isa)) isas.push_back(isa);
    }
    return isas;
}

}  // namespace pyemo
