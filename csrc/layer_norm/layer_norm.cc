#include "layer_norm/layer_norm.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/error.h"
#include "common/huge_pages.h"
#include "common/isa.h"
#include "common/parallel.h"
#include "common/scratch.h"
#include "layer_norm/kernels.h"

PYEMO_DISPATCH(layer_norm::Kernels, layer_norm_kernels)

namespace pyemo::layer_norm {

namespace {

void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument("layer norm: " + message);
}

void require_rows(const TensorView& view, const char* what, const TensorView& x) {
    require(view.ndim == 2 && view.sizes[0] == x.sizes[0] && view.sizes[1] == x.sizes[1],
            std::string(what) + " must be of the shape of " + x.describe() + ", got " + view.describe());
    require(view.sizes[1] == 1 || view.strides[1] == 1, std::string(what) + " must have its channels side by side");
    if (view.dtype != x.dtype) {
        throw DTypeError("layer norm: " + std::string(what) + " must be " + name(x.dtype) + ", got " + view.describe());
    }
}

// `other`: a dtype that is right too.
void require_vector(const TensorView* view, const char* what, std::int64_t size, DType dtype, DType other) {
    if (!view) return;
    require(
        view->ndim == 1 && view->sizes[0] == size && (size == 1 || view->strides[0] == 1),
        std::string(what) + " must be of shape (" + std::to_string(size) + "), contiguous, got " + view->describe());
    if (view->dtype != dtype && view->dtype != other) {
        throw DTypeError("layer norm: " + std::string(what) + " must be " + name(dtype) + ", got " + view->describe());
    }
}
void require_statistics(const TensorView* view, const char* what, std::int64_t rows) {
    require_vector(view, what, rows, DType::float32, DType::float32);
}

void require_input(const TensorView& x) {
    if (!has_kernel(x.dtype)) {
        throw DTypeError("layer norm: no kernel for " + std::string(name(x.dtype)) + " on " + name(active_isa()));
    }
    require(x.ndim == 2 && x.sizes[0] > 0 && x.sizes[1] > 0,
            "the input must be of shape (rows, channels), not empty, got " + x.describe());
    require_rows(x, "the input", x);
}

std::int64_t whole_vectors(std::int64_t channels) { return (channels + kMostLanes - 1) / kMostLanes * kMostLanes; }

// A vector in float, with zeros up to whole vectors; null stays null.
const float* widened(const TensorView* vector, Memory& memory) {
    if (!vector) return nullptr;
    const std::int64_t size = vector->sizes[0], room = whole_vectors(size);
    float* values = reinterpret_cast<float*>(memory.take(room * sizeof(float)));
    std::fill(values + size, values + room, 0.f);
    layer_norm_kernels().widen[static_cast<int>(vector->dtype)](vector->data, size, values);
    return values;
}

// How the rows are divided into tasks. It may not depend on the number of threads, or sums would.
struct Division {
    static constexpr std::int64_t kElements = 1 << 15, kMostParts = 256;

    std::int64_t rows, parts;

    Division(const TensorView& x, bool sums)
        : rows(x.sizes[0]),
          parts(std::clamp<std::int64_t>(rows * x.sizes[1] / kElements, 1, sums ? std::min(rows, kMostParts) : rows)) {}
    std::int64_t begin(std::int64_t part) const { return part * rows / parts; }
};

Rows rows_of(const TensorView& x, std::int64_t begin, std::int64_t end, const float* weight, const float* bias,
             const TensorView* mean, const TensorView* scale) {
    const auto from = [&](const TensorView* view) {
        return view ? reinterpret_cast<float*>(view->data) + begin : nullptr;
    };
    return {end - begin,
            static_cast<int>(x.sizes[1]),
            x.data + begin * x.byte_stride(0),
            x.strides[0],
            weight,
            bias,
            from(mean),
            from(scale)};
}

}  // namespace

bool has_kernel(DType dtype) { return layer_norm_kernels().forward[static_cast<int>(dtype)]; }

void forward(const TensorView& x, const TensorView* weight, const TensorView* bias, double eps, const TensorView& y,
             const TensorView* mean, const TensorView* scale, int threads) {
    require_input(x);
    const std::int64_t rows = x.sizes[0], channels = x.sizes[1], room = whole_vectors(channels) + kMostLanes;
    require_vector(weight, "the weight", channels, x.dtype, DType::float32);
    require_vector(bias, "the bias", channels, x.dtype, DType::float32);
    require_rows(y, "the output", x);
    require_statistics(mean, "the mean", rows);
    require_statistics(scale, "the scale", rows);
    require(!mean == !scale, "mean and scale are wanted together");

    const std::size_t piece = 2 * room * sizeof(float);
    Memory memory(2 * aligned(room * sizeof(float)) + Scratch::bytes(threads, piece));
    const float *weights = widened(weight, memory), *biases = widened(bias, memory);
    Scratch scratch(threads, piece, memory);
    if (y.is_contiguous()) prefer_huge_pages(y.data, rows * channels * item_size(y.dtype));
    const Division division(x, false);
    parallel_for(division.parts, threads, [&](std::int64_t part) {
        const std::int64_t begin = division.begin(part), end = division.begin(part + 1);
        const Forward task{rows_of(x, begin, end, weights, biases, mean, scale), y.data + begin * y.byte_stride(0),
                           y.strides[0], static_cast<float>(eps)};
        scratch.lend([&](char* memory) {
            layer_norm_kernels().forward[static_cast<int>(x.dtype)](task, reinterpret_cast<float*>(memory));
        });
    });
}

void backward(const TensorView& dy, const TensorView& x, const TensorView* weight, const TensorView& mean,
              const TensorView& scale, const TensorView* dx, const TensorView* grad_weight, const TensorView* grad_bias,
              int threads) {
    require_input(x);
    const std::int64_t rows = x.sizes[0], channels = x.sizes[1], room = whole_vectors(channels) + kMostLanes;
    require_rows(dy, "the gradient of the output", x);
    require_vector(weight, "the weight", channels, x.dtype, DType::float32);
    require_statistics(&mean, "the mean", rows);
    require_statistics(&scale, "the scale", rows);
    if (dx) require_rows(*dx, "the gradient", x);
    require_vector(grad_weight, "the gradient of the weight", channels, x.dtype, DType::float32);
    require_vector(grad_bias, "the gradient of the bias", channels, x.dtype, DType::float32);

    const Division division(x, grad_weight || grad_bias);
    const std::size_t piece = 2 * room * sizeof(float), sum_bytes = aligned(division.parts * room * sizeof(float));
    Memory memory(aligned(room * sizeof(float)) + 2 * sum_bytes + Scratch::bytes(threads, piece));
    const float* weights = widened(weight, memory);
    float* weight_sums = grad_weight ? reinterpret_cast<float*>(memory.take(sum_bytes)) : nullptr;
    float* bias_sums = grad_bias ? reinterpret_cast<float*>(memory.take(sum_bytes)) : nullptr;
    Scratch scratch(threads, piece, memory);
    if (dx && dx->is_contiguous()) prefer_huge_pages(dx->data, rows * channels * item_size(x.dtype));
    parallel_for(division.parts, threads, [&](std::int64_t part) {
        const std::int64_t begin = division.begin(part), end = division.begin(part + 1);
        const auto own = [&](float* sums) {
            if (sums) std::fill_n(sums + part * room, room, 0.f);
            return sums ? sums + part * room : nullptr;
        };
        const Backward task{rows_of(x, begin, end, weights, nullptr, &mean, &scale),
                            dy.data + begin * dy.byte_stride(0),
                            dy.strides[0],
                            dx ? dx->data + begin * dx->byte_stride(0) : nullptr,
                            dx ? dx->strides[0] : 0,
                            own(weight_sums),
                            own(bias_sums)};
        scratch.lend([&](char* memory) {
            layer_norm_kernels().backward[static_cast<int>(x.dtype)](task, reinterpret_cast<float*>(memory));
        });
    });
    for (const auto& [sums, grad] : {std::pair(weight_sums, grad_weight), std::pair(bias_sums, grad_bias)}) {
        if (!sums) continue;
        layer_norm_kernels().add[static_cast<int>(grad->dtype)](sums, division.parts, room, channels, grad->data);
    }
}

}  // namespace pyemo::layer_norm
