#pragma once

#include <vector>

#include "color_deconvolution/kernels.h"
#include "problem.h"

namespace pyemo::sanitize {

// The arguments of colour deconvolution or reconvolution: pixels one after the other, their channels side by side.
struct ColorMap {
    color::Direction direction;
    int inputs, outputs;
    bool clip;
    std::vector<double> matrix;              // inputs x outputs
    std::vector<double> input, grad_output;  // colours in [0, 1], or stains
};

struct ColorExpected {
    Expected output, grad_input, grad_matrix;
};

// How a dtype rounds: by a share of the value, and near zero by half a step.
struct Rounding {
    double share, step;
};

// `tolerance`: of the computation; `storage`: of the input's gradient.
ColorExpected color_map(const ColorMap& arguments, double tolerance, Rounding storage);

}  // namespace pyemo::sanitize
