#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/dtype.h"

namespace pyemo {

constexpr int kMaxDims = 64;  // torch and NumPy allow no more

// A strided array that someone else owns. Strides count elements and may be negative or zero.
struct TensorView {
    char* data = nullptr;
    DType dtype = DType::float32;
    int ndim = 0;
    std::int64_t sizes[kMaxDims];
    std::int64_t strides[kMaxDims];

    std::ptrdiff_t byte_stride(int dim) const { return strides[dim] * item_size(dtype); }
    bool is_contiguous() const;
    // "uint8 (2, 3, 224, 224)", for messages
    std::string describe() const;
};

}  // namespace pyemo
