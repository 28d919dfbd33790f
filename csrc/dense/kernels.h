#pragma once

#include <cstddef>
#include <cstdint>

#include "common/dtype.h"

namespace pyemo::dense {

// A matrix whose columns stand side by side. Its row stride counts elements.
struct Matrix {
    const char* data;
    std::ptrdiff_t row;
};

// y = gelu(x), of so many elements.
using Gelu = void (*)(const char* x, char* y, std::int64_t count);

// dx = dy * gelu'(x), of matrices without gaps. `sums` (columns) of dx is added to; it may be null.
using GeluBackward = void (*)(const char* dy, const char* x, char* dx, std::int64_t rows, std::int64_t columns,
                              float* sums);

// A part of dy^T x: so many rows of both, columns [0, outputs) of dy and [0, inputs) of x.
struct Part {
    Matrix dy, x;
    std::int64_t rows;
    int outputs, inputs;
    float* product;  // outputs x inputs, written; its rows are `product_row` apart, which leaves room for whole vectors
    std::ptrdiff_t product_row;
    float* sums;  // of dy's columns, added to; may be null
};

struct WeightGradient {
    std::size_t (*scratch_bytes)(const Part&);  // aligned to 64
    void (*compute)(const Part&, char* scratch);
};

// What becomes of an output of a layer, or, of a gradient of a GELU's output, what the GELU makes of it.
enum class Then : int { nothing, gelu, gelu_tanh, gelu_backward };

// (outputs x inputs), in one of the two directions without gaps. Strides count elements.
struct Weights {
    const char* data;
    std::ptrdiff_t output, input;
    int outputs, inputs;
};

// Some rows of a layer, and the outputs of some panels of its weights.
struct Rows {
    Matrix x;  // rows x inputs
    std::int64_t rows;
    const char* weights;  // packed
    const float* bias;    // of whole panels
    int inputs, outputs;
    Then then;
    Matrix y;       // rows x outputs, written
    Matrix hidden;  // likewise: what the GELU is given; written where that is wanted, read for its gradient
};

struct Layer {
    int panel;  // outputs that are packed together
    int strip;  // rows that are computed together
    std::size_t (*panel_bytes)(int inputs);
    void (*pack)(const Weights&, int panel, char* to);
    std::size_t (*scratch_bytes)(int inputs);
    void (*compute)(const Rows&, char* scratch);
};

// out = the sum of so many rows of `count` elements, which are `stride` apart.
using Add = void (*)(const float* terms, std::int64_t rows, std::ptrdiff_t stride, std::int64_t count, char* out);

// to = so many elements as floats.
using Widen = void (*)(const char* from, std::int64_t count, float* to);

constexpr int kMostLanes = 16;  // of float: rows of products begin at multiples of as many

// By dtype; null where there is none.
struct Kernels {
    Gelu gelu[kDTypeCount];
    GeluBackward gelu_backward[kDTypeCount];
    WeightGradient weight_gradient[kDTypeCount];
    Layer layer[kDTypeCount];
    Add add[kDTypeCount];
    Widen widen[kDTypeCount];
};

}  // namespace pyemo::dense
