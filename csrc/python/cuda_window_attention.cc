#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <utility>

#include "python/queue_argument.h"
#include "python/tensor_argument.h"
#include "window_attention/cuda/window_attention.h"

namespace py = pybind11;

namespace pyemo {

namespace {

using cuda::Queue;
using View = std::optional<TensorView>;
using Pair = std::pair<int, int>;

const TensorView* pointer(const View& view) { return view ? &*view : nullptr; }

window::Arguments arguments(const TensorView& qkv, const View& bias, const View& mask, const View& logit_scale,
                            int heads, Pair window, Pair shift, double scale) {
    return {&qkv,
            pointer(bias),
            pointer(mask),
            pointer(logit_scale),
            heads,
            {window.first, window.second},
            {shift.first, shift.second},
            scale,
            1};
}

void forward(const Queue& queue, const TensorView& qkv, const View& bias, const View& mask, const View& logit_scale,
             const TensorView& output, int heads, Pair window, Pair shift, double scale) {
    const py::gil_scoped_release release;
    window::cuda::forward(queue, arguments(qkv, bias, mask, logit_scale, heads, window, shift, scale), output);
}

std::int64_t backward_workspace(int device, const TensorView& grad_output, const TensorView& qkv, bool wants_bias,
                                bool wants_logit_scale, int heads, Pair window, Pair shift) {
    return window::cuda::backward_workspace(device, arguments(qkv, {}, {}, {}, heads, window, shift, 1), grad_output,
                                            wants_bias, wants_logit_scale);
}

void backward(const Queue& queue, const TensorView& grad_output, const TensorView& qkv, const View& bias,
              const View& mask, const View& logit_scale, const TensorView& grad_qkv, const View& grad_bias,
              const View& grad_logit_scale, const TensorView& workspace, int heads, Pair window, Pair shift,
              double scale) {
    const py::gil_scoped_release release;
    window::cuda::backward(queue, arguments(qkv, bias, mask, logit_scale, heads, window, shift, scale), grad_output,
                           grad_qkv, pointer(grad_bias), pointer(grad_logit_scale), workspace.data);
}

}  // namespace

void bind_cuda_window_attention(py::module_& module) {
    module.def("window_attention", forward);
    module.def("window_attention_backward", backward);
    module.def("window_attention_backward_workspace", backward_workspace,
               "Bytes that window_attention_backward works in.");
    module.def(
        "window_attention_is_fast",
        [](int device, int dtype, int head_dim, int tokens, bool backward) {
            return window::cuda::is_fast(device, static_cast<DType>(dtype), head_dim, tokens, backward);
        },
        "Whether these sizes go to tensor cores on this device.");
}

}  // namespace pyemo
