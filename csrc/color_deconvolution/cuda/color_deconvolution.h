#pragma once

#include <vector>

#include "color_deconvolution/kernels.h"
#include "common/cuda/launch.h"
#include "common/tensor_view.h"

namespace pyemo::color::cuda {

using pyemo::cuda::Queue;

// The matrix: constants, or null and contiguous float64 numbers on the device.
struct Coefficients {
    const std::vector<double>* constants;
    const TensorView* on_device;
};

// As color::forward and color::backward, on tensors of the queue's device. grad_matrix is float64, contiguous. The
// workspace is for it; its sums have an order that depends on the sizes and the number of multiprocessors alone.
void forward(const Queue& queue, Direction direction, const TensorView& input, int channel_dim,
             const Coefficients& matrix, bool clip, const TensorView& output);
void backward(const Queue& queue, Direction direction, const TensorView& grad_output, const TensorView& input,
              int channel_dim, const Coefficients& matrix, bool clip, const TensorView* grad_input,
              const TensorView* grad_matrix, void* workspace);
std::int64_t backward_workspace(int device);

}  // namespace pyemo::color::cuda
