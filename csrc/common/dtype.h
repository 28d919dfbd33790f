#pragma once

namespace pyemo {

// Element types that cross the border to Python. The names are those of torch and NumPy.
enum class DType : int { uint8, int16, float16, bfloat16, float32, float64 };
constexpr int kDTypeCount = 6;

const char* name(DType dtype);
int item_size(DType dtype);

}  // namespace pyemo
