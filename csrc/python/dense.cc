#include "dense/dense.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>

#include "python/tensor_argument.h"

namespace py = pybind11;

namespace pyemo {

namespace {

using View = std::optional<TensorView>;

const TensorView* pointer(const View& view) { return view ? &*view : nullptr; }

void gelu(const TensorView& x, const TensorView& y, int threads) {
    const py::gil_scoped_release release;
    dense::gelu(x, y, threads);
}

void gelu_backward(const TensorView& dy, const TensorView& x, const TensorView& dx, const View& grad_bias,
                   int threads) {
    const py::gil_scoped_release release;
    dense::gelu_backward(dy, x, dx, pointer(grad_bias), threads);
}

dense::Then then_of(const std::string& name) {
    for (const auto& [then, known] :
         {std::pair(dense::Then::nothing, ""), std::pair(dense::Then::gelu, "gelu"),
          std::pair(dense::Then::gelu_tanh, "gelu-tanh"), std::pair(dense::Then::gelu_backward, "gelu-backward")}) {
        if (name == known) return then;
    }
    throw py::value_error("dense: nothing called '" + name + "' comes after a layer");
}

void layer(const TensorView& x, const TensorView& weight, const View& bias, const std::string& then,
           const TensorView& y, const View& hidden, int threads) {
    const dense::Then what = then_of(then);
    const py::gil_scoped_release release;
    dense::layer(x, weight, pointer(bias), what, y, pointer(hidden), threads);
}

void feed_forward(const TensorView& x, const TensorView& weight1, const View& bias1, const std::string& then,
                  const TensorView& weight2, const View& bias2, const TensorView& y, int threads) {
    const dense::Then what = then_of(then);
    const py::gil_scoped_release release;
    dense::feed_forward(x, weight1, pointer(bias1), what, weight2, pointer(bias2), y, threads);
}

void weight_gradient(const TensorView& dy, const TensorView& x, const TensorView& grad_weight, const View& grad_bias,
                     int threads) {
    const py::gil_scoped_release release;
    dense::weight_gradient(dy, x, grad_weight, pointer(grad_bias), threads);
}

}  // namespace

void bind_dense(py::module_& module) {
    module.def("has_gelu", [](int dtype) { return dense::has_gelu(static_cast<DType>(dtype)); });
    module.def("has_weight_gradient", [](int dtype) { return dense::has_weight_gradient(static_cast<DType>(dtype)); });
    module.def("has_layer", [](int dtype) { return dense::has_layer(static_cast<DType>(dtype)); });
    module.def("layer", layer);
    module.def("feed_forward", feed_forward);
    module.def("gelu", gelu);
    module.def("gelu_backward", gelu_backward);
    module.def("weight_gradient", weight_gradient);
}

}  // namespace pyemo
