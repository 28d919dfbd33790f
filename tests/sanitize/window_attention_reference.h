#pragma once

#include <vector>

#include "window_attention/window_attention.h"

namespace pyemo::sanitize {

// The arguments of window attention, each tensor as its values in the order of its sizes; empty stands for null.
struct WindowAttention {
    int batch, rows_of_windows, columns_of_windows, heads, head_dim;
    window::Extent window, shift;
    double scale;
    std::vector<double> qkv, bias, mask, logit_scale, grad_output;

    int tokens() const { return window.height * window.width; }
    int height() const { return rows_of_windows * window.height; }
    int width() const { return columns_of_windows * window.width; }
    int channels() const { return heads * head_dim; }
};

// Values, and for each the sum of the absolute values of what it is the sum of: the measure of its rounding error.
struct Sums {
    std::vector<double> values, magnitudes;

    explicit Sums(std::size_t count) : values(count), magnitudes(count) {}
    void add(std::size_t at, double value, double magnitude) {
        values[at] += value;
        magnitudes[at] += magnitude;
    }
};

struct WindowAttentionSums {
    Sums output, grad_qkv, grad_bias, grad_logit_scale;
};

WindowAttentionSums window_attention(const WindowAttention& arguments);

}  // namespace pyemo::sanitize
