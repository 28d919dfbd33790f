#pragma once

#include <vector>

#include "color_deconvolution/kernels.h"
#include "common/tensor_view.h"

namespace pyemo::color {

// Both take `input` with kColors (deconvolution) or the stains (reconvolution) along channel_dim, a matrix of inputs x
// outputs, row by row, and an output of the input's shape but for channel_dim. They throw std::invalid_argument or
// DTypeError.
void forward(Direction direction, const TensorView& input, int channel_dim, const std::vector<double>& matrix,
             bool clip, const TensorView& output, int threads);

// grad_input (shape and dtype of the input) and grad_matrix (as the matrix) may be null. The sums for grad_matrix have
// the same order whatever the number of threads.
void backward(Direction direction, const TensorView& grad_output, const TensorView& input, int channel_dim,
              const std::vector<double>& matrix, bool clip, const TensorView* grad_input,
              std::vector<double>* grad_matrix, int threads);

}  // namespace pyemo::color
