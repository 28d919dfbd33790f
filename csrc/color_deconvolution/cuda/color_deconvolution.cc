#include "color_deconvolution/cuda/color_deconvolution.h"

#include <algorithm>
#include <string>

#include "color_deconvolution/checks.h"
#include "color_deconvolution/cuda/kernels.h"
#include "common/cuda/sums.h"

namespace pyemo::color::cuda {

namespace {

using pyemo::cuda::DeviceGuard, pyemo::cuda::limits;

constexpr int kBlocksEach = 4;  // on a multiprocessor
constexpr std::int64_t kVector = 4;

template <int kArrays>
Loops<kArrays> make_loops(int channel_dim, const std::array<const TensorView*, kArrays>& views) {
    const LoopNest<kArrays> nest = pixel_loops<kArrays>(channel_dim, views);
    if (nest.dims().size() > kMostLoops) {
        throw std::invalid_argument("CUDA kernels take at most " + std::to_string(kMostLoops) +
                                    " dimensions that cannot be merged, got " + views[0]->describe());
    }
    Loops<kArrays> loops{};
    loops.count = nest.count();
    loops.dims = static_cast<int>(nest.dims().size());
    for (int d = 0; d < loops.dims; ++d) {
        loops.sizes[d] = nest.dims()[d].size;
        for (int a = 0; a < kArrays; ++a) loops.strides[a][d] = nest.dims()[d].strides[a];
    }
    return loops;
}

// How an array lies, or `any` if vectors of it cannot be accessed.
template <int kArrays>
bool has_pattern(const Loops<kArrays>& loops, int array, const TensorView& view, int channel_dim, Pattern pattern) {
    const std::ptrdiff_t item = item_size(view.dtype), channels = view.sizes[channel_dim];
    const std::ptrdiff_t pixel = loops.strides[array][loops.dims - 1], vector = item * kVector;
    auto bits = static_cast<std::uintptr_t>(reinterpret_cast<std::uintptr_t>(view.data));
    for (int d = 0; d + 1 < loops.dims; ++d) bits |= static_cast<std::uintptr_t>(loops.strides[array][d]);
    if (pattern == Pattern::planes) {
        if (channels > 1) bits |= static_cast<std::uintptr_t>(view.byte_stride(channel_dim));
        return pixel == item && bits % vector == 0;
    }
    return pixel == channels * item && (channels == 1 || view.byte_stride(channel_dim) == item) && bits % vector == 0;
}

template <int kArrays>
Pattern pattern_of(const Loops<kArrays>& loops, int channel_dim, const std::array<const TensorView*, kArrays>& views) {
    const std::int64_t length = loops.sizes[loops.dims - 1];
    // Short runs would leave most of a block idle.
    if (length % kVector != 0 || length < 64 * kVector) return Pattern::any;
    for (const Pattern pattern : {Pattern::planes, Pattern::packed}) {
        bool all = true;
        for (int a = 0; all && a < kArrays; ++a) all = has_pattern(loops, a, *views[a], channel_dim, pattern);
        if (all) return pattern;
    }
    return Pattern::any;
}

std::size_t coefficient_count(const Coefficients& matrix) {
    if (!matrix.on_device) return matrix.constants->size();
    std::size_t count = 1;
    for (int d = 0; d < matrix.on_device->ndim; ++d) count *= matrix.on_device->sizes[d];
    return count;
}

Matrix make_matrix(const Problem& problem, const Coefficients& coefficients) {
    Matrix matrix{};
    matrix.scale = problem.scale();
    if (coefficients.on_device) {
        matrix.on_device = reinterpret_cast<const double*>(coefficients.on_device->data);
    } else {
        for (std::size_t i = 0; i < coefficients.constants->size(); ++i) {
            matrix.values[i] = (*coefficients.constants)[i] * matrix.scale;
        }
    }
    return matrix;
}

int blocks_for(int device, std::int64_t pixels, int threads) {
    const std::int64_t needed = (pixels + threads - 1) / threads;
    return static_cast<int>(
        std::clamp<std::int64_t>(needed, 1, std::int64_t{kBlocksEach} * limits(device).multiprocessors));
}

}  // namespace

void forward(const Queue& queue, Direction direction, const TensorView& input, int channel_dim,
             const Coefficients& matrix, bool clip, const TensorView& output) {
    static const std::array<float, 256> log2_byte = logarithms_of_bytes();
    const Problem problem(direction, input, channel_dim, coefficient_count(matrix), output);
    ForwardWork work{};
    work.direction = direction;
    work.dtype = input.dtype;
    work.stains = problem.stains;
    work.clip = clip;
    work.matrix = make_matrix(problem, matrix);
    work.loops = make_loops<2>(channel_dim, {&output, &input});
    if (work.loops.count == 0) return;
    // Rare combinations have no kernel of their own.
    const bool has_kernel =
        input.dtype != DType::float64 && (direction == Direction::deconvolution || input.dtype == DType::float32);
    work.pattern = has_kernel ? pattern_of<2>(work.loops, channel_dim, {&output, &input}) : Pattern::any;
    work.output = output.data;
    work.input = input.data;
    work.output_channel = output.byte_stride(channel_dim);
    work.input_channel = input.byte_stride(channel_dim);
    std::copy(log2_byte.begin(), log2_byte.end(), work.log2_byte);
    const DeviceGuard guard(queue.device);
    const std::int64_t each = work.pattern == Pattern::any ? 1 : kVector;
    launch_forward(queue, blocks_for(queue.device, work.loops.count / each, kThreads), work);
}

std::int64_t backward_workspace(int device) {
    return std::int64_t{kBlocksEach} * limits(device).multiprocessors * kColors * kColors *
           static_cast<int>(sizeof(double));
}

void backward(const Queue& queue, Direction direction, const TensorView& grad_output, const TensorView& input,
              int channel_dim, const Coefficients& matrix, bool clip, const TensorView* grad_input,
              const TensorView* grad_matrix, void* workspace) {
    const Problem problem(direction, input, channel_dim, coefficient_count(matrix), grad_output);
    if (grad_input) check_gradient(direction, input, *grad_input);
    if (grad_matrix && grad_matrix->dtype != DType::float64) {
        throw std::invalid_argument("the gradient of the matrix must be float64, got " + grad_matrix->describe());
    }
    BackwardWork work{};
    work.direction = direction;
    work.dtype = input.dtype;
    work.stains = problem.stains;
    work.clip = clip;
    work.matrix = make_matrix(problem, matrix);
    const std::array<const TensorView*, 3> views = {&input, &grad_output, grad_input ? grad_input : &input};
    work.loops = make_loops<3>(channel_dim, views);
    const bool has_kernel = input.dtype == DType::float32;
    work.pattern = has_kernel ? pattern_of<3>(work.loops, channel_dim, views) : Pattern::any;
    work.input = input.data;
    work.grad_output = grad_output.data;
    work.grad_input = grad_input ? grad_input->data : nullptr;
    work.input_channel = input.byte_stride(channel_dim);
    work.grad_output_channel = grad_output.byte_stride(channel_dim);
    work.grad_input_channel = grad_input ? grad_input->byte_stride(channel_dim) : 0;
    work.sums = grad_matrix ? static_cast<double*>(workspace) : nullptr;
    const DeviceGuard guard(queue.device);
    int blocks = 0;
    if (work.loops.count > 0) {
        const std::int64_t each = work.pattern == Pattern::any ? 1 : kVector;
        blocks = blocks_for(queue.device, work.loops.count / each, kBackwardThreads);
        launch_backward(queue, blocks, work);
    }
    if (!grad_matrix) return;
    pyemo::cuda::launch_sums<double>(queue, {work.sums, static_cast<std::int64_t>(coefficient_count(matrix)), blocks,
                                             reinterpret_cast<double*>(grad_matrix->data), problem.scale()});
}

}  // namespace pyemo::color::cuda
