#pragma once

#include <cstdint>
#include <string>

#include "common/tensor_view.h"

// What the functions on dense layers ask of their arguments: std::invalid_argument or DTypeError if it is not so, with
// what it is.
namespace pyemo::dense {

void require(bool condition, const std::string& message);
void require_like(const TensorView& view, const char* what, const TensorView& x);
void require_dtype(const TensorView& view, const char* what, DType dtype);
void require_contiguous(const TensorView& view, const char* what);
void require_kernel(bool there, DType dtype);
// Of one element at least, with columns side by side.
void require_matrix(const TensorView& view, const char* what);
// Contiguous; null is right too.
void require_vector(const TensorView* view, const char* what, std::int64_t size, DType dtype);

std::int64_t count_of(const TensorView& view);
inline std::int64_t divided(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

}  // namespace pyemo::dense
