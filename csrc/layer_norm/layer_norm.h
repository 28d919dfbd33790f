#pragma once

#include "common/tensor_view.h"

// Layer normalization (Ba, Kiros, Hinton 2016) of rows (rows, channels), whose channels stand side by side. weight,
// bias and their gradients are of the rows' dtype or float32; mean and scale (rows,) are float32.
namespace pyemo::layer_norm {

// Whether there is a kernel for a dtype on the instruction set in use.
bool has_kernel(DType dtype);

// y = (x - mean) scale weight + bias, with scale = 1 / sqrt(variance + eps). weight (channels,), bias (channels,), and
// mean and scale together may be null.
void forward(const TensorView& x, const TensorView* weight, const TensorView* bias, double eps, const TensorView& y,
             const TensorView* mean, const TensorView* scale, int threads);

// The gradients; those that are null are not computed. Does not depend on the number of threads.
void backward(const TensorView& dy, const TensorView& x, const TensorView* weight, const TensorView& mean,
              const TensorView& scale, const TensorView* dx, const TensorView* grad_weight, const TensorView* grad_bias,
              int threads);

}  // namespace pyemo::layer_norm
