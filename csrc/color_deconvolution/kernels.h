#pragma once

#include <cstddef>
#include <cstdint>

#include "common/dtype.h"

namespace pyemo::color {

// Deconvolution: three colours -> 1 to 3 stains,   stain = log2(max(colour, 1e-6)) . matrix, not below 0 if clipped.
// Reconvolution: 1 to 3 stains -> three colours,   colour = 2^(stain . matrix), not above 1 if clipped.
// Both logarithms are in units of log2(1e-6); it is folded into the matrix here.
enum class Direction : int { deconvolution, reconvolution };

constexpr double kDarkest = 1e-6;  // of a colour in [0, 1], so that the logarithm exists

constexpr int kColors = 3;
constexpr int inputs(Direction direction, int stains) {
    return direction == Direction::deconvolution ? kColors : stains;
}
constexpr int outputs(Direction direction, int stains) {
    return direction == Direction::deconvolution ? stains : kColors;
}

// The first of a run of pixels. Strides in bytes.
struct Pixels {
    char* data;
    std::ptrdiff_t channel;
    std::ptrdiff_t pixel;
};

struct Map {
    double matrix[kColors * kColors];  // inputs x outputs, row by row; scaled for logarithms to base two
    bool clip;
    const float* log2_byte;  // log2(max(i / 255, kDarkest)) for each byte i
};

using Forward = void (*)(const Map& map, std::int64_t count, Pixels input, Pixels output);

// grad_input.data may be null. grad_matrix (inputs x outputs), added to, may be null; it is the gradient of
// Map::matrix.
using Backward = void (*)(const Map& map, std::int64_t count, Pixels grad_output, Pixels input, Pixels grad_input,
                          double* grad_matrix);

// By direction, dtype of the input, and stains - 1; null where the dtype is not supported. Outputs and their gradients
// are float64 for float64 inputs, else float32.
struct Kernels {
    Forward forward[2][kDTypeCount][kColors];
    Backward backward[2][kDTypeCount][kColors];
};

}  // namespace pyemo::color
