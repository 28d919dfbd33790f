#pragma once

#include <cstddef>
#include <cstdint>

// What one call of window attention works on, for the host code and the kernels.
namespace pyemo::window {

// What timm and torchvision add to the logits of tokens that were not neighbours before the cyclic shift.
constexpr double kShiftPenalty = -100;
constexpr double kLog2E = 1.442695040888963407360;
// Of torch.nn.functional.normalize: no vector's length counts as less.
constexpr double kShortest = 1e-12;

// A map (batch, height, width, channels) of a tensor's rows, channels side by side; strides in bytes.
struct Map {
    char* data = nullptr;
    std::ptrdiff_t batch = 0, row = 0, column = 0;
};

// Without member functions: an inline one, compiled with wide instructions, could end up in code for every machine.
struct Problem {
    std::int64_t batch, height, width;
    int heads, head_dim;
    int window_height, window_width, shift_height, shift_width;
    int tokens;                                        // of a window
    std::int64_t rows_of_windows, columns_of_windows;  // of an image
    double scale;                                      // of the logits; 1 where logit_scale is given
    const void* logit_scale;                           // (heads,) cosine attention's, or null
    const void* mask;                                  // (windows of an image, tokens, tokens) or null
    const void* bias;                                  // (heads, tokens, tokens) or null
    bool narrow_bias;                                  // it and its gradient are of the maps' type, not the logits'
    Map qkv, output;                                   // of the backward pass, output is the gradient that comes in
    Map grad_qkv;                                      // of the backward pass
    char* kept;  // a kernel's `kept_bytes` for each head of each window, which the forward pass writes and the backward
                 // pass reads; or null
};

// What one thread does in one go: all of these windows, all of these heads.
struct Task {
    std::int64_t window_begin, window_end;
    int head_begin, head_end;
};

}  // namespace pyemo::window
