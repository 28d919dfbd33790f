#include "dense/dense.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "python/tensor_argument.h"

namespace py = pybind11;

namespace pyemo {

namespace {

using View = std::optional<TensorView>;

void gelu(const TensorView& x, const TensorView& y, int threads) {
    const py::gil_scoped_release release;
    dense::gelu(x, y, threads);
}

void gelu_backward(const TensorView& dy, const TensorView& x, const TensorView& dx, const View& grad_bias,
                   int threads) {
    const py::gil_scoped_release release;
    dense::gelu_backward(dy, x, dx, grad_bias ? &*grad_bias : nullptr, threads);
}

void weight_gradient(const TensorView& dy, const TensorView& x, const TensorView& grad_weight, const View& grad_bias,
                     int threads) {
    const py::gil_scoped_release release;
    dense::weight_gradient(dy, x, grad_weight, grad_bias ? &*grad_bias : nullptr, threads);
}

}  // namespace

void bind_dense(py::module_& module) {
    module.def("has_gelu", [](int dtype) { return dense::has_gelu(static_cast<DType>(dtype)); });
    module.def("has_weight_gradient", [](int dtype) { return dense::has_weight_gradient(static_cast<DType>(dtype)); });
    module.def("gelu", gelu);
    module.def("gelu_backward", gelu_backward);
    module.def("weight_gradient", weight_gradient);
}

}  // namespace pyemo
