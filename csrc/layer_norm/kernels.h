#pragma once

#include <cstddef>
#include <cstdint>

#include "common/dtype.h"

namespace pyemo::layer_norm {

// Rows of so many channels each, without gaps between the channels. Strides count elements. What may be null is so in
// all rows. weight, bias and sums have room for whole vectors, whose values behind the channels are zero at first.
struct Rows {
    std::int64_t rows;
    int channels;
    const char* x;
    std::ptrdiff_t x_row;
    const float *weight, *bias;
    float *mean, *scale;  // of each row: forwards written unless null, backwards read
};

struct Forward : Rows {
    char* y;
    std::ptrdiff_t y_row;
    float eps;
};

struct Backward : Rows {
    const char* dy;
    std::ptrdiff_t dy_row;
    char* dx;  // null if it is not wanted
    std::ptrdiff_t dx_row;
    float *weight_sums, *bias_sums;  // of the gradients of weight and bias, added to; null if they are not wanted
};

// By dtype; null where there is none. `scratch`: room for two rows in float, of whole vectors.
struct Kernels {
    void (*forward[kDTypeCount])(const Forward&, float* scratch);
    void (*backward[kDTypeCount])(const Backward&, float* scratch);
    void (*widen[kDTypeCount])(const char* from, std::int64_t count, float* to);
    void (*add[kDTypeCount])(const float* terms, std::int64_t rows, std::ptrdiff_t stride, std::int64_t count,
                             char* out);
};

constexpr int kMostLanes = 16;  // of float

}  // namespace pyemo::layer_norm
