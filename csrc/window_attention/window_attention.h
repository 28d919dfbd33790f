#pragma once

#include "common/tensor_view.h"

namespace pyemo::window {

// Sizes of a window, or how far the map is rolled, down and to the right.
struct Extent {
    int height, width;
};

// Arguments of both passes. Bias (heads, tokens, tokens), mask (windows of an image, tokens, tokens) and logit_scale
// (heads,) are contiguous, or null: float64 where qkv is, else float32. On a CPU, bias may be of qkv's dtype too.
struct Arguments {
    const TensorView* qkv;  // (batch, height, width, 3 * channels), channels side by side
    const TensorView *bias, *mask, *logit_scale;
    int heads;
    Extent window, shift;
    double scale;
    int threads;
    char* kept = nullptr;  // `kept_bytes`, aligned to 8, from the forward to the backward pass: without, the latter
                           // computes the same again
};

// How much both passes may be given to keep; 0 if there is nothing that is worth it.
std::size_t kept_bytes(const Arguments& arguments, const TensorView& output);

// `output`: (batch, height, width, channels) of qkv's dtype, channels side by side.
void forward(const Arguments& arguments, const TensorView& output);

// `grad_output` is like the output, `grad_qkv` like qkv, the others like what they are gradients of; the last two may
// be null.
void backward(const Arguments& arguments, const TensorView& grad_output, const TensorView& grad_qkv,
              const TensorView* grad_bias, const TensorView* grad_logit_scale);

}  // namespace pyemo::window
