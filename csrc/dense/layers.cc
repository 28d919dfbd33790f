#include <algorithm>
#include <utility>

#include "common/huge_pages.h"
#include "common/parallel.h"
#include "dense/checks.h"
#include "dense/dense.h"
#include "dense/packed_layer.h"

namespace pyemo::dense {

namespace {

Matrix matrix_of(const TensorView& view) { return {view.data, view.strides[0]}; }

void require_weight(const TensorView& weight, const char* what, const TensorView& x, std::int64_t inputs) {
    require(
        weight.ndim == 2 && weight.sizes[0] > 0 && weight.sizes[1] == inputs,
        std::string(what) + " must be of shape (outputs, " + std::to_string(inputs) + "), got " + weight.describe());
    require(weight.strides[0] == 1 || weight.strides[1] == 1 || weight.sizes[0] == 1 || weight.sizes[1] == 1,
            std::string(what) + " must have its rows or its columns side by side");
    require_dtype(weight, what, x.dtype);
}

void require_threads(int threads) {
    require(threads >= 1, "threads must be at least 1, got " + std::to_string(threads));
}

void require_rows(const TensorView& view, const char* what, std::int64_t rows, std::int64_t columns, DType dtype) {
    require_matrix(view, what);
    require(view.sizes[0] == rows && view.sizes[1] == columns,
            std::string(what) + " must be of shape (" + std::to_string(rows) + ", " + std::to_string(columns) +
                "), got " + view.describe());
    require_dtype(view, what, dtype);
}

}  // namespace

void layer(const TensorView& x, const TensorView& weight, const TensorView* bias, Then then, const TensorView& y,
           const TensorView* hidden, int threads) {
    require_kernel(has_layer(x.dtype), x.dtype);
    require_threads(threads);
    require_matrix(x, "the input");
    const std::int64_t rows = x.sizes[0], inputs = x.sizes[1];
    require_weight(weight, "the weight", x, inputs);
    const std::int64_t outputs = weight.sizes[0];
    require_vector(bias, "the bias", outputs, x.dtype);
    require_rows(y, "the output", rows, outputs, x.dtype);
    if (hidden) require_rows(*hidden, "what the GELU is given", rows, outputs, x.dtype);
    require(!hidden || then != Then::nothing, "there is no GELU that would be given something");
    require(hidden || then != Then::gelu_backward, "the gradient of a GELU needs what the GELU was given");

    const std::ptrdiff_t item = item_size(x.dtype), bytes = rows * outputs * item;
    if (y.is_contiguous()) prefer_huge_pages(y.data, bytes);
    if (hidden && hidden->is_contiguous() && then != Then::gelu_backward) prefer_huge_pages(hidden->data, bytes);
    Rows all{};
    all.x = matrix_of(x), all.y = matrix_of(y), all.hidden = hidden ? matrix_of(*hidden) : Matrix{};
    all.rows = rows, all.then = then;
    if (few_rows(x.dtype, rows)) {
        compute_few_rows(weight, bias, all, threads);
        return;
    }
    // Of large weights, one part after the other is packed, which the third cache holds.
    constexpr std::int64_t kPackedBytes = 16 << 20;
    const std::int64_t parts = divided(outputs * inputs * item, kPackedBytes), most = divided(outputs, parts);
    const std::size_t scratch_bytes = PackedLayer::scratch_bytes(x.dtype, inputs),
                      packed_bytes = PackedLayer::bytes(x.dtype, inputs, most);
    Memory memory(packed_bytes + Scratch::bytes(threads, scratch_bytes));
    Scratch scratch(threads, scratch_bytes, memory);
    char* const packed_memory = memory.take(packed_bytes);
    for (std::int64_t output = 0; output < outputs; output += most) {
        const std::int64_t count = std::min(most, outputs - output);
        const auto from = [&](Matrix matrix) {
            if (matrix.data) matrix.data += output * item;
            return matrix;
        };
        TensorView of_weight = weight, of_bias;
        of_weight.data += output * weight.byte_stride(0), of_weight.sizes[0] = count;
        if (bias) of_bias = *bias, of_bias.data += output * item, of_bias.sizes[0] = count;
        Rows columns = all;
        columns.y = from(all.y), columns.hidden = from(all.hidden);
        PackedLayer(of_weight, bias ? &of_bias : nullptr, packed_memory, threads).compute(columns, scratch, threads);
    }
}

void feed_forward(const TensorView& x, const TensorView& weight1, const TensorView* bias1, Then then,
                  const TensorView& weight2, const TensorView* bias2, const TensorView& y, int threads) {
    require_kernel(has_layer(x.dtype), x.dtype);
    require_threads(threads);
    require_matrix(x, "the input");
    const std::int64_t rows = x.sizes[0], inputs = x.sizes[1];
    require_weight(weight1, "the first weight", x, inputs);
    const std::int64_t hidden = weight1.sizes[0];
    require_vector(bias1, "the first bias", hidden, x.dtype);
    require_weight(weight2, "the second weight", x, hidden);
    const std::int64_t outputs = weight2.sizes[0];
    require_vector(bias2, "the second bias", outputs, x.dtype);
    require_rows(y, "the output", rows, outputs, x.dtype);
    require(then != Then::gelu_backward, "a layer's gradient is none of a feed-forward network");

    // Where the second cache holds all weights, each thread takes its rows through both layers; else all of them take
    // many rows, whose hidden activations the third cache holds.
    constexpr std::size_t kWeightBytes = 640 << 10, kOwnBytes = 128 << 10, kSharedBytes = 6 << 20;
    const std::size_t packed_bytes1 = PackedLayer::bytes(x.dtype, inputs, hidden),
                      packed_bytes2 = PackedLayer::bytes(x.dtype, hidden, outputs),
                      row_bytes = hidden * item_size(x.dtype);
    const bool alone = packed_bytes1 + packed_bytes2 <= kWeightBytes;
    const std::int64_t fitting = std::max<std::int64_t>(1, (alone ? kOwnBytes : kSharedBytes) / row_bytes);
    std::int64_t parts = divided(rows, fitting);
    if (alone) parts = std::min(rows, divided(parts, threads) * threads);  // as many for each thread
    const std::int64_t most = divided(rows, parts);
    const std::size_t own_bytes = alone ? aligned(most * row_bytes) : 0,
                      layer_bytes = aligned(std::max(PackedLayer::scratch_bytes(x.dtype, inputs),
                                                     PackedLayer::scratch_bytes(x.dtype, hidden))),
                      shared_bytes = alone ? 0 : aligned(most * row_bytes);
    Memory memory(packed_bytes1 + packed_bytes2 + shared_bytes + Scratch::bytes(threads, own_bytes + layer_bytes));
    const PackedLayer first(weight1, bias1, memory.take(packed_bytes1), threads),
        second(weight2, bias2, memory.take(packed_bytes2), threads);
    char* shared = memory.take(shared_bytes);
    Scratch scratch(threads, own_bytes + layer_bytes, memory);
    if (y.is_contiguous()) prefer_huge_pages(y.data, rows * outputs * item_size(x.dtype));

    // The two layers of the rows of a part, with memory for what stands between them.
    const auto layers = [&](std::int64_t part, char* between) {
        const std::int64_t begin = part * rows / parts, count = (part + 1) * rows / parts - begin;
        Rows whole{}, of_first{}, of_second{};
        whole.x = matrix_of(x), whole.y = matrix_of(y);
        const Rows own = slice(whole, begin, count, x.dtype);
        of_first.rows = of_second.rows = count;
        of_first.x = own.x, of_first.y = {between, static_cast<std::ptrdiff_t>(hidden)}, of_first.then = then;
        of_second.x = of_first.y, of_second.y = own.y;
        return std::pair(of_first, of_second);
    };
    if (alone) {
        parallel_for(parts, threads, [&](std::int64_t part) {
            scratch.lend([&](char* piece) {
                const auto [of_first, of_second] = layers(part, piece);
                first.compute(of_first, piece + own_bytes);
                second.compute(of_second, piece + own_bytes);
            });
        });
        return;
    }
    for (std::int64_t part = 0; part < parts; ++part) {
        const auto [of_first, of_second] = layers(part, shared);
        first.compute(of_first, scratch, threads);
        second.compute(of_second, scratch, threads);
    }
}

}  // namespace pyemo::dense
