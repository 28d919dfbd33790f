#include "color_deconvolution/cuda/pixels.cuh"

namespace pyemo::color::cuda {

namespace {

// The gradients of one pixel: `x` is what the matrix is applied to, `color` the input itself.
template <class C, Direction kDirection, int kIn, int kOut>
__device__ __forceinline__ void differentiate(const Coefficients<C, kIn, kOut>& matrix, bool clip,
                                              const C (&color)[kIn], C (&grad_output)[kOut], C (&grad_color)[kIn],
                                              C (&sums)[kIn * kOut]) {
    constexpr bool kDeconvolution = kDirection == Direction::deconvolution;
    C x[kIn];
#pragma unroll
    for (int c = 0; c < kIn; ++c) x[c] = kDeconvolution ? logarithm(color[c]) : color[c];
#pragma unroll
    for (int o = 0; o < kOut; ++o) {
        C& g = grad_output[o];
        // Where it was clipped, the output has no gradient. That of 2^z is itself times ln 2.
        if constexpr (kDeconvolution) {
            if (clip && !(matrix.output(x, o) >= 0)) g = 0;
        } else {
            const C y = exp2_of(matrix.output(x, o));
            g *= y * static_cast<C>(kLn2);
            if (clip && !(y <= 1)) g = 0;
        }
    }
#pragma unroll
    for (int c = 0; c < kIn; ++c) {
        C sum = 0;
#pragma unroll
        for (int o = 0; o < kOut; ++o) {
            sums[c * kOut + o] += x[c] * grad_output[o];
            sum += grad_output[o] * matrix.k[c][o];
        }
        if constexpr (kDeconvolution) {
            sum = color[c] >= static_cast<C>(kDarkest) ? sum * static_cast<C>(1 / kLn2) / color[c] : C(0);
        }
        grad_color[c] = sum;
    }
}

// Adds up the threads' sums, in an order of its own for each size of a block.
template <class C, int kCount>
__device__ __forceinline__ void write_sums(const C (&sums)[kCount], double* target) {
    constexpr int kWarps = kBackwardThreads / kWarp;
    double* const of_warp = dynamic_shared<double>();
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
        const double sum = sum_of_lanes<kWarp>(static_cast<double>(sums[i]));
        if (lane == 0) of_warp[warp * kCount + i] = sum;
    }
    __syncthreads();
    if (threadIdx.x < kCount) {
        double total = 0;
        for (int w = 0; w < kWarps; ++w) total += of_warp[w * kCount + threadIdx.x];
        target[static_cast<std::int64_t>(blockIdx.x) * kCount + threadIdx.x] = total;
    }
}

template <Direction kDirection, int kStains, bool kPacked>
__global__ void __launch_bounds__(kBackwardThreads, 3) backward(const __grid_constant__ BackwardWork work) {
    constexpr int kIn = inputs(kDirection, kStains), kOut = outputs(kDirection, kStains);
    using In = Vectors<float, kIn, kPacked>;
    using Out = Vectors<float, kOut, kPacked>;
    constexpr int kExchange = In::kExchangeBytes > Out::kExchangeBytes ? In::kExchangeBytes : Out::kExchangeBytes;
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    char* const exchange = dynamic_shared<char>() + warp * kExchange;
    const Coefficients<float, kIn, kOut> matrix(work.matrix);
    const Runs<3> runs(work.loops, kBackwardThreads);
    constexpr float kNeutral = kDirection == Direction::deconvolution ? 1.0f : 0.0f;
    float sums[kIn * kOut] = {};
    for (std::int64_t tile = blockIdx.x; tile < runs.tiles; tile += gridDim.x) {
        const std::int64_t run = tile / runs.tiles_each;
        std::ptrdiff_t offsets[3];
        place(work.loops, work.loops.dims - 1, run, offsets);
        const std::int64_t first = (tile - run * runs.tiles_each) * kBackwardThreads + warp * kWarp;
        const int left = limited(runs.vectors - first);
        if (left <= 0) continue;  // the whole warp
        In input, grad_input;
        Out grad_output;
        input.load(work.input + offsets[0], work.input_channel, first, left, lane);
        grad_output.load(work.grad_output + offsets[1], work.grad_output_channel, first, left, lane);
        input.arrange(exchange, lane);
        grad_output.arrange(exchange, lane);
#pragma unroll
        for (int pixel = 0; pixel < kVector; ++pixel) {
            float color[kIn], grad[kOut], grad_color[kIn];
#pragma unroll
            for (int c = 0; c < kIn; ++c) color[c] = lane < left ? input.at(pixel, c) : kNeutral;
#pragma unroll
            for (int o = 0; o < kOut; ++o) grad[o] = lane < left ? grad_output.at(pixel, o) : 0.0f;
            differentiate<float, kDirection, kIn, kOut>(matrix, work.clip, color, grad, grad_color, sums);
#pragma unroll
            for (int c = 0; c < kIn; ++c) grad_input.at(pixel, c) = grad_color[c];
        }
        if (work.grad_input) {
            grad_input.store(work.grad_input + offsets[2], work.grad_input_channel, first, left, lane, exchange);
        }
    }
    if (work.sums) {
        __syncthreads();
        write_sums<float, kIn * kOut>(sums, work.sums);
    }
}

template <class C, Direction kDirection, int kStains>
__global__ void __launch_bounds__(kBackwardThreads) backward_any(const __grid_constant__ BackwardWork work) {
    constexpr int kIn = inputs(kDirection, kStains), kOut = outputs(kDirection, kStains);
    const Coefficients<C, kIn, kOut> matrix(work.matrix);
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kBackwardThreads;
    C sums[kIn * kOut] = {};
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kBackwardThreads + threadIdx.x; i < work.loops.count;
         i += step) {
        std::ptrdiff_t offsets[3];
        place(work.loops, work.loops.dims, i, offsets);
        C color[kIn], grad[kOut], grad_color[kIn];
#pragma unroll
        for (int c = 0; c < kIn; ++c) {
            color[c] = load_any<C>(work.dtype, work.input + offsets[0] + c * work.input_channel);
            if (work.dtype == DType::uint8) color[c] /= 255;
        }
#pragma unroll
        for (int o = 0; o < kOut; ++o) {
            grad[o] = *reinterpret_cast<const C*>(work.grad_output + offsets[1] + o * work.grad_output_channel);
        }
        differentiate<C, kDirection, kIn, kOut>(matrix, work.clip, color, grad, grad_color, sums);
        if (!work.grad_input) continue;
#pragma unroll
        for (int c = 0; c < kIn; ++c) {
            store_any(work.dtype, work.grad_input + offsets[2] + c * work.grad_input_channel, grad_color[c]);
        }
    }
    if (work.sums) write_sums<C, kIn * kOut>(sums, work.sums);
}

template <Direction kDirection, int kStains>
void launch_stains(const Queue& queue, int blocks, const BackwardWork& work) {
    constexpr int kIn = inputs(kDirection, kStains), kOut = outputs(kDirection, kStains);
    constexpr int kWarps = kBackwardThreads / kWarp, kSums = kWarps * kIn * kOut * sizeof(double);
    constexpr int kIns = Vectors<float, kIn, true>::kExchangeBytes, kOuts = Vectors<float, kOut, true>::kExchangeBytes;
    constexpr int kExchange = kWarps * (kIns > kOuts ? kIns : kOuts);
    const dim3 grid(blocks);
    if (work.pattern == Pattern::packed) {
        return launch(queue, backward<kDirection, kStains, true>, grid, kBackwardThreads,
                      kExchange > kSums ? kExchange : kSums, work);
    }
    if (work.pattern == Pattern::planes) {
        return launch(queue, backward<kDirection, kStains, false>, grid, kBackwardThreads, kSums, work);
    }
    if (work.dtype == DType::float64) {
        return launch(queue, backward_any<double, kDirection, kStains>, grid, kBackwardThreads, kSums, work);
    }
    launch(queue, backward_any<float, kDirection, kStains>, grid, kBackwardThreads, kSums, work);
}

template <Direction kDirection>
void launch_direction(const Queue& queue, int blocks, const BackwardWork& work) {
    const auto function = work.stains == 1   ? launch_stains<kDirection, 1>
                          : work.stains == 2 ? launch_stains<kDirection, 2>
                                             : launch_stains<kDirection, 3>;
    function(queue, blocks, work);
}

}  // namespace

void launch_backward(const Queue& queue, int blocks, const BackwardWork& work) {
    if (work.direction == Direction::deconvolution) {
        launch_direction<Direction::deconvolution>(queue, blocks, work);
    } else {
        launch_direction<Direction::reconvolution>(queue, blocks, work);
    }
}

}  // namespace pyemo::color::cuda
