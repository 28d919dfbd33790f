#include "color_deconvolution/color_deconvolution.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "python/tensor_argument.h"

namespace py = pybind11;

namespace pyemo {

namespace {

template <color::Direction direction>
void forward(const TensorView& input, int channel_dim, const std::vector<double>& matrix, bool clip,
             const TensorView& output, int threads) {
    const py::gil_scoped_release release;
    color::forward(direction, input, channel_dim, matrix, clip, output, threads);
}

// Returns the gradient of the matrix, empty if it is not wanted.
template <color::Direction direction>
std::vector<double> backward(const TensorView& grad_output, const TensorView& input, int channel_dim,
                             const std::vector<double>& matrix, bool clip, const std::optional<TensorView>& grad_input,
                             bool wants_matrix, int threads) {
    const py::gil_scoped_release release;
    std::vector<double> grad_matrix;
    color::backward(direction, grad_output, input, channel_dim, matrix, clip, grad_input ? &*grad_input : nullptr,
                    wants_matrix ? &grad_matrix : nullptr, threads);
    return grad_matrix;
}

}  // namespace

void bind_color_deconvolution(py::module_& module) {
    using color::Direction;
    module.def("color_deconvolution", forward<Direction::deconvolution>);
    module.def("color_deconvolution_backward", backward<Direction::deconvolution>);
    module.def("color_reconvolution", forward<Direction::reconvolution>);
    module.def("color_reconvolution_backward", backward<Direction::reconvolution>);
}

}  // namespace pyemo
