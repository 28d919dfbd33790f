#include "color_deconvolution/color_deconvolution.h"

#include <algorithm>
#include <array>
#include <vector>

#include "color_deconvolution/checks.h"
#include "common/isa.h"
#include "common/parallel.h"

PYEMO_DISPATCH(color::Kernels, color_kernels)

namespace pyemo::color {

namespace {

constexpr std::int64_t kChunk =
    1 << 14;  // pixels; what one thread takes at a time, and too few to be worth waking a second

// What the kernels take beside pixels.
Map make_map(const Problem& problem, const std::vector<double>& matrix, bool clip) {
    static const std::array<float, 256> log2_byte = logarithms_of_bytes();
    Map map{};
    for (std::size_t i = 0; i < matrix.size(); ++i) map.matrix[i] = matrix[i] * problem.scale();
    map.clip = clip;
    map.log2_byte = log2_byte.data();
    return map;
}

template <int kArrays>
std::int64_t chunk_count(const LoopNest<kArrays>& loops) {
    return (loops.count() + kChunk - 1) / kChunk;
}

template <int kArrays, class Run>
void for_chunks(const LoopNest<kArrays>& loops, int threads, const Run& run) {
    parallel_for(chunk_count(loops), threads, [&](std::int64_t chunk) {
        const std::int64_t begin = chunk * kChunk, end = std::min(begin + kChunk, loops.count());
        loops.for_rows(begin, end, [&](const auto& offsets, const auto& strides, std::int64_t length) {
            run(chunk, offsets, strides, length);
        });
    });
}

}  // namespace

void forward(Direction direction, const TensorView& input, int channel_dim, const std::vector<double>& matrix,
             bool clip, const TensorView& output, int threads) {
    const Problem problem(direction, input, channel_dim, matrix.size(), output);
    const Map map = make_map(problem, matrix, clip);
    const Forward kernel = color_kernels().forward[static_cast<int>(direction)][problem.dtype][problem.stains - 1];
    const auto loops = pixel_loops<2>(channel_dim, {&output, &input});
    for_chunks(loops, threads, [&](std::int64_t, const auto& offsets, const auto& strides, std::int64_t length) {
        kernel(map, length, {input.data + offsets[1], input.byte_stride(channel_dim), strides[1]},
               {output.data + offsets[0], output.byte_stride(channel_dim), strides[0]});
    });
}

void backward(Direction direction, const TensorView& grad_output, const TensorView& input, int channel_dim,
              const std::vector<double>& matrix, bool clip, const TensorView* grad_input,
              std::vector<double>* grad_matrix, int threads) {
    const Problem problem(direction, input, channel_dim, matrix.size(), grad_output);
    if (grad_input) check_gradient(direction, input, *grad_input);
    const Map map = make_map(problem, matrix, clip);
    const Backward kernel = color_kernels().backward[static_cast<int>(direction)][problem.dtype][problem.stains - 1];
    const auto loops = pixel_loops<3>(channel_dim, {&input, &grad_output, grad_input ? grad_input : &input});
    using Sums = std::array<double, kColors * kColors>;
    std::vector<Sums> sums(grad_matrix ? chunk_count(loops) : 0, Sums{});
    for_chunks(loops, threads, [&](std::int64_t chunk, const auto& offsets, const auto& strides, std::int64_t length) {
        kernel(map, length, {grad_output.data + offsets[1], grad_output.byte_stride(channel_dim), strides[1]},
               {input.data + offsets[0], input.byte_stride(channel_dim), strides[0]},
               grad_input ? Pixels{grad_input->data + offsets[2], grad_input->byte_stride(channel_dim), strides[2]}
                          : Pixels{nullptr, 0, 0},
               grad_matrix ? sums[chunk].data() : nullptr);
    });

    if (!grad_matrix) return;
    grad_matrix->assign(matrix.size(), 0);
    for (const Sums& sum : sums) {
        for (std::size_t i = 0; i < matrix.size(); ++i) (*grad_matrix)[i] += sum[i] * problem.scale();
    }
}

}  // namespace pyemo::color
