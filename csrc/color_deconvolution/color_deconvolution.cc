#include "color_deconvolution/color_deconvolution.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/isa.h"
#include "common/loop_nest.h"
#include "common/parallel.h"

PYEMO_DISPATCH(color::Kernels, color_kernels)

namespace pyemo::color {

namespace {

constexpr std::int64_t kChunk =
    1 << 14;  // pixels; what one thread takes at a time, and too few to be worth waking a second

void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument(message);
}

void require_dtype(const TensorView& view, DType dtype, const char* what) {
    if (view.dtype != dtype) {
        throw DTypeError(std::string(what) + " must be " + name(dtype) + ", got " + view.describe());
    }
}

const char* name(Direction direction) {
    return direction == Direction::deconvolution ? "color_deconvolution" : "color_reconvolution";
}

// The arguments that both passes have, checked.
struct Problem {
    Direction direction;
    int dtype, stains, in, out;
    Map map;

    Problem(Direction direction, const TensorView& input, int channel_dim, const std::vector<double>& matrix, bool clip,
            const TensorView& output)
        : direction(direction), dtype(static_cast<int>(input.dtype)) {
        const std::string op = color::name(direction);
        require(matrix.size() == 3 || matrix.size() == 6 || matrix.size() == 9,
                op + ": the matrix must have 3, 6 or 9 elements, got " + std::to_string(matrix.size()));
        stains = static_cast<int>(matrix.size()) / kColors;
        in = inputs(direction, stains);
        out = outputs(direction, stains);
        require(channel_dim >= 0 && channel_dim < input.ndim && input.sizes[channel_dim] == in,
                op + ": expected " + std::to_string(in) + " channels in dimension " + std::to_string(channel_dim) +
                    ", got " + input.describe());
        if (!color_kernels().forward[static_cast<int>(direction)][dtype][stains - 1]) {
            throw DTypeError(op + ": dtype not supported, got " + input.describe());
        }
        bool same_shape = output.ndim == input.ndim;
        for (int d = 0; same_shape && d < input.ndim; ++d) {
            same_shape = output.sizes[d] == (d == channel_dim ? out : input.sizes[d]);
        }
        require(same_shape, op + ": output " + output.describe() + " does not fit input " + input.describe());
        require_dtype(output, input.dtype == DType::float64 ? DType::float64 : DType::float32,
                      "the output and its gradient");

        for (std::size_t i = 0; i < matrix.size(); ++i) map.matrix[i] = matrix[i] * scale();
        map.clip = clip;
        map.log2_byte = log2_byte();
    }

    // Of the matrix, from the unit log2(1e-6) to base two.
    double scale() const {
        return direction == Direction::deconvolution ? 1 / std::log2(kDarkest) : std::log2(kDarkest);
    }

    static const float* log2_byte() {
        static const auto table = [] {
            std::array<float, 256> values;
            for (int i = 0; i < 256; ++i) values[i] = static_cast<float>(std::log2(std::max(i / 255.0, kDarkest)));
            return values;
        }();
        return table.data();
    }
};

// The loops over pixels: all dimensions but the channels'.
template <int kArrays>
LoopNest<kArrays> pixel_loops(int channel_dim, const std::array<const TensorView*, kArrays>& views) {
    std::vector<typename LoopNest<kArrays>::Dim> dims;
    for (int d = 0; d < views[0]->ndim; ++d) {
        if (d == channel_dim) continue;
        typename LoopNest<kArrays>::Dim dim{views[0]->sizes[d], {}};
        for (int a = 0; a < kArrays; ++a) dim.strides[a] = views[a]->byte_stride(d);
        dims.push_back(dim);
    }
    return LoopNest<kArrays>(std::move(dims));
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
    const Problem problem(direction, input, channel_dim, matrix, clip, output);
    const Forward kernel = color_kernels().forward[static_cast<int>(direction)][problem.dtype][problem.stains - 1];
    const auto loops = pixel_loops<2>(channel_dim, {&output, &input});
    for_chunks(loops, threads, [&](std::int64_t, const auto& offsets, const auto& strides, std::int64_t length) {
        kernel(problem.map, length, {input.data + offsets[1], input.byte_stride(channel_dim), strides[1]},
               {output.data + offsets[0], output.byte_stride(channel_dim), strides[0]});
    });
}

void backward(Direction direction, const TensorView& grad_output, const TensorView& input, int channel_dim,
              const std::vector<double>& matrix, bool clip, const TensorView* grad_input,
              std::vector<double>* grad_matrix, int threads) {
    const Problem problem(direction, input, channel_dim, matrix, clip, grad_output);
    if (grad_input) {
        bool fits = grad_input->ndim == input.ndim && input.dtype != DType::uint8;
        for (int d = 0; fits && d < input.ndim; ++d) fits = grad_input->sizes[d] == input.sizes[d];
        require(fits, std::string(name(direction)) + ": gradient " + grad_input->describe() + " does not fit input " +
                          input.describe());
        require_dtype(*grad_input, input.dtype, "the gradient of the input");
    }

    const Backward kernel = color_kernels().backward[static_cast<int>(direction)][problem.dtype][problem.stains - 1];
    const auto loops = pixel_loops<3>(channel_dim, {&input, &grad_output, grad_input ? grad_input : &input});
    using Sums = std::array<double, kColors * kColors>;
    std::vector<Sums> sums(grad_matrix ? chunk_count(loops) : 0, Sums{});
    for_chunks(loops, threads, [&](std::int64_t chunk, const auto& offsets, const auto& strides, std::int64_t length) {
        kernel(problem.map, length, {grad_output.data + offsets[1], grad_output.byte_stride(channel_dim), strides[1]},
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
