#include "layer_norm/layer_norm.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "python/tensor_argument.h"

namespace py = pybind11;

namespace pyemo {

namespace {

using View = std::optional<TensorView>;

const TensorView* pointer(const View& view) { return view ? &*view : nullptr; }

void layer_norm_forward(const TensorView& x, const View& weight, const View& bias, double eps, const TensorView& y,
                        const View& mean, const View& scale, int threads) {
    const py::gil_scoped_release release;
    layer_norm::forward(x, pointer(weight), pointer(bias), eps, y, pointer(mean), pointer(scale), threads);
}

void layer_norm_backward(const TensorView& dy, const TensorView& x, const View& weight, const TensorView& mean,
                         const TensorView& scale, const View& dx, const View& grad_weight, const View& grad_bias,
                         int threads) {
    const py::gil_scoped_release release;
    layer_norm::backward(dy, x, pointer(weight), mean, scale, pointer(dx), pointer(grad_weight), pointer(grad_bias),
                         threads);
}

}  // namespace

void bind_layer_norm(py::module_& module) {
    module.def("has_layer_norm", [](int dtype) { return layer_norm::has_kernel(static_cast<DType>(dtype)); });
    module.def("layer_norm", layer_norm_forward);
    module.def("layer_norm_backward", layer_norm_backward);
}

}  // namespace pyemo
