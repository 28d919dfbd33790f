#pragma once

#include "window_attention/problem.h"
#include "window_attention/window_attention.h"

namespace pyemo::window {

// What the logits are computed in, and what everything beside the maps is given in; on a CPU, a bias may be of the
// maps' type instead.
DType compute_dtype(DType dtype);

// What to work on. Throw std::invalid_argument or DTypeError if the arguments do not fit together.
Problem make_problem(const Arguments& arguments, const TensorView& output, const char* output_name);
Problem make_backward_problem(const Arguments& arguments, const TensorView& grad_output, const TensorView& grad_qkv,
                              const TensorView* grad_bias, const TensorView* grad_logit_scale);

// Throws DTypeError if bias is of the maps' narrow type.
void require_wide_bias(const Arguments& arguments);

// Whether there is nothing to compute: the gradients of bias and logit_scale are zero then.
bool is_empty(const Problem& problem);

}  // namespace pyemo::window
