#pragma once

#include "common/cuda/launch.h"
#include "window_attention/window_attention.h"

namespace pyemo::window::cuda {

using pyemo::cuda::Queue;

// As window::forward, on tensors of the queue's device; `threads` means nothing.
void forward(const Queue& queue, const Arguments& arguments, const TensorView& output);

// Bytes of device memory that the backward pass works in.
std::int64_t backward_workspace(int device, const Arguments& arguments, const TensorView& grad_output, bool wants_bias,
                                bool wants_logit_scale);

// As window::backward. The gradients of bias and logit_scale are sums over blocks in an order that depends on the sizes
// and the number of multiprocessors alone: on one kind of device, always the same bits.
void backward(const Queue& queue, const Arguments& arguments, const TensorView& grad_output, const TensorView& grad_qkv,
              const TensorView* grad_bias, const TensorView* grad_logit_scale, void* workspace);

// Whether these sizes go to tensor cores on a device, and not to the general kernels.
bool is_fast(int device, DType dtype, int head_dim, int tokens, bool backward);

}  // namespace pyemo::window::cuda
