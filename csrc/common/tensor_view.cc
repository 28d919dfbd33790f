#include "common/tensor_view.h"

namespace pyemo {

const char* name(DType dtype) {
    switch (dtype) {
        case DType::uint8:
            return "uint8";
        case DType::int16:
            return "int16";
        case DType::float16:
            return "float16";
        case DType::bfloat16:
            return "bfloat16";
        case DType::float32:
            return "float32";
        case DType::float64:
            return "float64";
    }
    return "unknown";
}

int item_size(DType dtype) {
    switch (dtype) {
        case DType::uint8:
            return 1;
        case DType::int16:
        case DType::float16:
        case DType::bfloat16:
            return 2;
        case DType::float32:
            return 4;
        case DType::float64:
            return 8;
    }
    return 0;
}

bool TensorView::is_contiguous() const {
    std::int64_t stride = 1;
    for (int d = ndim - 1; d >= 0; --d) {
        if (sizes[d] > 1 && strides[d] != stride) return false;
        stride *= sizes[d];
    }
    return true;
}

std::string TensorView::describe() const {
    std::string text = std::string(name(dtype)) + " (";
    for (int d = 0; d < ndim; ++d) text += (d ? ", " : "") + std::to_string(sizes[d]);
    return text + (ndim == 1 ? ",)" : ")");
}

}  // namespace pyemo
