#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "color_deconvolution/cuda/color_deconvolution.h"
#include "python/queue_argument.h"
#include "python/tensor_argument.h"

namespace py = pybind11;

namespace pyemo {

namespace {

using color::Direction, cuda::Queue;
using View = std::optional<TensorView>;

const TensorView* pointer(const View& view) { return view ? &*view : nullptr; }

template <Direction direction>
void forward(const Queue& queue, const TensorView& input, int channel_dim, const std::vector<double>& constants,
             const View& matrix, bool clip, const TensorView& output) {
    const py::gil_scoped_release release;
    color::cuda::forward(queue, direction, input, channel_dim, {&constants, pointer(matrix)}, clip, output);
}

template <Direction direction>
void backward(const Queue& queue, const TensorView& grad_output, const TensorView& input, int channel_dim,
              const std::vector<double>& constants, const View& matrix, bool clip, const View& grad_input,
              const View& grad_matrix, const TensorView& workspace) {
    const py::gil_scoped_release release;
    color::cuda::backward(queue, direction, grad_output, input, channel_dim, {&constants, pointer(matrix)}, clip,
                          pointer(grad_input), pointer(grad_matrix), workspace.data);
}

}  // namespace

void bind_cuda_color_deconvolution(py::module_& module) {
    module.def("color_deconvolution", forward<Direction::deconvolution>);
    module.def("color_deconvolution_backward", backward<Direction::deconvolution>);
    module.def("color_reconvolution", forward<Direction::reconvolution>);
    module.def("color_reconvolution_backward", backward<Direction::reconvolution>);
    module.def("color_backward_workspace", color::cuda::backward_workspace,
               "Bytes that the backward passes work in on a device, for the gradient of the matrix.");
}

}  // namespace pyemo
