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

// out = the sum of so many rows of `count` elements, which are `stride` apart.
using Add = void (*)(const float* terms, std::int64_t rows, std::ptrdiff_t stride, std::int64_t count, char* out);

constexpr int kMostLanes = 16;  // of float: rows of products begin at multiples of as many

// By dtype; null where there is none.
struct Kernels {
    Gelu gelu[kDTypeCount];
    GeluBackward gelu_backward[kDTypeCount];
    WeightGradient weight_gradient[kDTypeCount];
    Add add[kDTypeCount];
};

}  // namespace pyemo::dense
