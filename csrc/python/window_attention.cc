#include "window_attention/window_attention.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <utility>

#include "python/tensor_argument.h"

namespace py = pybind11;

namespace pyemo {

namespace {

using View = std::optional<TensorView>;
using Pair = std::pair<int, int>;

const TensorView* pointer(const View& view) { return view ? &*view : nullptr; }

void forward(const TensorView& qkv, const View& bias, const View& mask, const View& logit_scale,
             const TensorView& output, int heads, Pair window, Pair shift, double scale, int threads) {
    const py::gil_scoped_release release;
    window::forward({&qkv,
                     pointer(bias),
                     pointer(mask),
                     pointer(logit_scale),
                     heads,
                     {window.first, window.second},
                     {shift.first, shift.second},
                     scale,
                     threads},
                    output);
}

void backward(const TensorView& grad_output, const TensorView& qkv, const View& bias, const View& mask,
              const View& logit_scale, const TensorView& grad_qkv, const View& grad_bias, const View& grad_logit_scale,
              int heads, Pair window, Pair shift, double scale, int threads) {
    const py::gil_scoped_release release;
    window::backward({&qkv,
                      pointer(bias),
                      pointer(mask),
                      pointer(logit_scale),
                      heads,
                      {window.first, window.second},
                      {shift.first, shift.second},
                      scale,
                      threads},
                     grad_output, grad_qkv, pointer(grad_bias), pointer(grad_logit_scale));
}

}  // namespace

void bind_window_attention(py::module_& module) {
    module.def("window_attention", forward);
    module.def("window_attention_backward", backward);
}

}  // namespace pyemo
