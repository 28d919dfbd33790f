#include "dense/kernels.h"

#include "common/simd_sums.h"
#include "dense/gelu_kernel.h"
#include "dense/layer_kernel.h"
#include "dense/weight_gradient_kernel.h"

namespace pyemo::PYEMO_ISA {

namespace {

template <class T>
constexpr void set_gelu(pyemo::dense::Kernels& kernels, DType dtype) {
    kernels.add[static_cast<int>(dtype)] = simd::add<T, float>;
    kernels.widen[static_cast<int>(dtype)] = simd::widen_all<T>;
    kernels.gelu[static_cast<int>(dtype)] = dense::GeluKernel<T>::forward;
    kernels.gelu_backward[static_cast<int>(dtype)] = dense::GeluKernel<T>::backward;
}

template <class T>
constexpr void set_weight_gradient(pyemo::dense::Kernels& kernels, DType dtype) {
    using Kernel = dense::WeightGradientKernel<T>;
    kernels.weight_gradient[static_cast<int>(dtype)] = {Kernel::scratch_bytes, Kernel::compute};
}

template <class T>
constexpr void set_layer(pyemo::dense::Kernels& kernels, DType dtype) {
    using Kernel = dense::LayerKernel<T>;
    kernels.layer[static_cast<int>(dtype)] = {Kernel::kPanel, Kernel::kStrip,        Kernel::panel_bytes,
                                              Kernel::pack,   Kernel::scratch_bytes, Kernel::compute};
}

constexpr pyemo::dense::Kernels make_kernels() {
    pyemo::dense::Kernels kernels{};
    set_gelu<float>(kernels, DType::float32);
    set_gelu<simd::bfloat16>(kernels, DType::bfloat16);
    set_weight_gradient<float>(kernels, DType::float32);
#if defined(__AVX2__)  // elsewhere, oneDNN's products are faster
    set_layer<float>(kernels, DType::float32);
#endif
#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)  // with AMX, oneDNN's products are faster
    set_weight_gradient<simd::bfloat16>(kernels, DType::bfloat16);
    set_layer<simd::bfloat16>(kernels, DType::bfloat16);
#endif
    return kernels;
}

}  // namespace

const pyemo::dense::Kernels& dense_kernels() {
    static constexpr pyemo::dense::Kernels kKernels = make_kernels();
    return kKernels;
}

}  // namespace pyemo::PYEMO_ISA
