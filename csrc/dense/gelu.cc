#include <algorithm>
#include <utility>

#include "common/huge_pages.h"
#include "common/isa.h"
#include "common/parallel.h"
#include "common/scratch.h"
#include "dense/checks.h"
#include "dense/dense.h"
#include "dense/kernels.h"

PYEMO_DISPATCH(dense::Kernels, dense_kernels)

namespace pyemo::dense {

bool has_gelu(DType dtype) { return dense_kernels().gelu[static_cast<int>(dtype)]; }

void gelu(const TensorView& x, const TensorView& y, int threads) {
    require_kernel(has_gelu(x.dtype), x.dtype);
    require_like(y, "the output", x);
    require_dtype(y, "the output", x.dtype);
    require_contiguous(x, "the input");
    require_contiguous(y, "the output");
    constexpr std::int64_t kChunk = 1 << 14;  // elements; too few to be worth waking a second thread
    const std::int64_t count = count_of(x), size = item_size(x.dtype);
    prefer_huge_pages(y.data, count * size);
    parallel_for(divided(count, kChunk), threads, [&](std::int64_t i) {
        const std::int64_t begin = i * kChunk, length = std::min(kChunk, count - begin);
        dense_kernels().gelu[static_cast<int>(x.dtype)](x.data + begin * size, y.data + begin * size, length);
    });
}

void gelu_backward(const TensorView& dy, const TensorView& x, const TensorView& dx, const TensorView* grad_bias,
                   int threads) {
    require_kernel(has_gelu(x.dtype), x.dtype);
    require_matrix(x, "the input");
    for (const auto& [view, what] : {std::pair(&dy, "the gradient of the output"), std::pair(&dx, "the gradient")}) {
        require_like(*view, what, x);
        require_dtype(*view, what, x.dtype);
        require_contiguous(*view, what);
    }
    require_contiguous(x, "the input");
    const std::int64_t rows = x.sizes[0], columns = x.sizes[1], size = item_size(x.dtype);
    require_vector(grad_bias, "the gradient of the bias", columns, x.dtype);

    constexpr std::int64_t kChunk = 1 << 15, kMostParts = 256;
    const std::int64_t parts = std::clamp<std::int64_t>(rows * columns / kChunk, 1, std::min(rows, kMostParts));
    Memory memory(grad_bias ? parts * columns * sizeof(float) : 0);
    float* sums = grad_bias ? reinterpret_cast<float*>(memory.take(parts * columns * sizeof(float))) : nullptr;
    prefer_huge_pages(dx.data, rows * columns * size);
    parallel_for(parts, threads, [&](std::int64_t i) {
        const std::int64_t begin = i * rows / parts, end = (i + 1) * rows / parts, offset = begin * columns * size;
        if (sums) std::fill_n(sums + i * columns, columns, 0.f);
        dense_kernels().gelu_backward[static_cast<int>(x.dtype)](dy.data + offset, x.data + offset, dx.data + offset,
                                                                 end - begin, columns,
                                                                 sums ? sums + i * columns : nullptr);
    });
    if (!sums) return;
    dense_kernels().add[static_cast<int>(x.dtype)](sums, static_cast<int>(parts), columns, columns, grad_bias->data);
}

}  // namespace pyemo::dense
