#include "dense/checks.h"

#include "common/error.h"
#include "common/isa.h"

namespace pyemo::dense {

void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument("dense: " + message);
}

void require_like(const TensorView& view, const char* what, const TensorView& x) {
    bool fits = view.ndim == x.ndim;
    for (int d = 0; fits && d < x.ndim; ++d) fits = view.sizes[d] == x.sizes[d];
    require(fits, std::string(what) + " " + view.describe() + " must be of the shape of " + x.describe());
}

void require_dtype(const TensorView& view, const char* what, DType dtype) {
    if (view.dtype == dtype) return;
    throw DTypeError("dense: " + std::string(what) + " must be " + name(dtype) + ", got " + view.describe());
}

void require_contiguous(const TensorView& view, const char* what) {
    require(view.is_contiguous(), std::string(what) + " must be contiguous");
}

void require_kernel(bool there, DType dtype) {
    if (!there) throw DTypeError("dense: no kernel for " + std::string(name(dtype)) + " on " + name(active_isa()));
}

void require_matrix(const TensorView& view, const char* what) {
    require(view.ndim == 2 && view.sizes[0] > 0 && view.sizes[1] > 0,
            std::string(what) + " must be a matrix, not empty, got " + view.describe());
    require(view.sizes[1] == 1 || view.strides[1] == 1, std::string(what) + " must have its columns side by side");
}

void require_vector(const TensorView* view, const char* what, std::int64_t size, DType dtype) {
    if (!view) return;
    require(view->ndim == 1 && view->sizes[0] == size,
            std::string(what) + " must be of shape (" + std::to_string(size) + "), got " + view->describe());
    require_contiguous(*view, what);
    require_dtype(*view, what, dtype);
}

std::int64_t count_of(const TensorView& view) {
    std::int64_t count = 1;
    for (int d = 0; d < view.ndim; ++d) count *= view.sizes[d];
    return count;
}

}  // namespace pyemo::dense
