#include "window_attention/kernels.h"

#include "window_attention/float_unit.h"
#include "window_attention/tasks.h"
#if defined(__AVX512BF16__)
#include "window_attention/pair_unit.h"
#endif
#if defined(__AMX_BF16__)
#include "window_attention/tile_products.h"
#elif defined(__AVX512BF16__)
#include "window_attention/vector_products.h"
#endif

namespace pyemo::PYEMO_ISA {

namespace {

template <class Unit>
constexpr void set(pyemo::window::Kernels& kernels, DType dtype) {
    kernels.of[static_cast<int>(dtype)] = window::Tasks<Unit>::kernel();
}

constexpr pyemo::window::Kernels make_kernels() {
    pyemo::window::Kernels kernels{};
    set<window::FloatUnit<float>>(kernels, DType::float32);
    set<window::FloatUnit<double>>(kernels, DType::float64);
    set<window::FloatUnit<simd::float16>>(kernels, DType::float16);
#if defined(__AMX_BF16__)
    set<window::PairUnit<window::TileProducts>>(kernels, DType::bfloat16);
#elif defined(__AVX512BF16__)
    set<window::PairUnit<window::VectorProducts>>(kernels, DType::bfloat16);
#else
    set<window::FloatUnit<simd::bfloat16>>(kernels, DType::bfloat16);
#endif
    return kernels;
}

}  // namespace

const pyemo::window::Kernels& window_kernels() {
    static constexpr pyemo::window::Kernels kKernels = make_kernels();
    return kKernels;
}

}  // namespace pyemo::PYEMO_ISA
