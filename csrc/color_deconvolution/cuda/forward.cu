#include "color_deconvolution/cuda/pixels.cuh"

namespace pyemo::color::cuda {

namespace {

constexpr int kWarps = kThreads / kWarp;

// The logarithms of bytes, a copy for each lane of a warp, so that lanes never wait for each other's bank.
struct ByteTable {
    static constexpr int kBytes = 256 * kWarp * sizeof(float);

    static __device__ __forceinline__ void fill(const float* values, float* table) {
        for (int i = threadIdx.x; i < 256 * kWarp; i += blockDim.x) table[i] = values[i / kWarp];
        __syncthreads();
    }
};

template <class T, int kIn, int kOut, bool kPacked>
constexpr int shared_bytes() {
    constexpr int kIns = Vectors<T, kIn, kPacked>::kExchangeBytes,
                  kOuts = Vectors<float, kOut, kPacked>::kExchangeBytes;
    return (sizeof(T) == 1 ? ByteTable::kBytes : 0) + kWarps * (kIns > kOuts ? kIns : kOuts);
}

template <Direction kDirection, class T, int kStains, bool kPacked>
__global__ void __launch_bounds__(kThreads, 2) forward(const __grid_constant__ ForwardWork work) {
    constexpr int kIn = inputs(kDirection, kStains), kOut = outputs(kDirection, kStains);
    constexpr bool kBytes = sizeof(T) == 1;
    constexpr int kUnrolled = 2;  // vectors of a thread that are loaded before any is used; more would not fit
    using In = Vectors<T, kIn, kPacked>;
    using Out = Vectors<float, kOut, kPacked>;
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    float* const table = dynamic_shared<float>();
    char* const exchange = dynamic_shared<char>() + (kBytes ? ByteTable::kBytes : 0) +
                           warp * (In::kExchangeBytes > Out::kExchangeBytes ? In::kExchangeBytes : Out::kExchangeBytes);
    if constexpr (kBytes) ByteTable::fill(work.log2_byte, table);
    const Coefficients<float, kIn, kOut> matrix(work.matrix);
    const Runs<2> runs(work.loops, kThreads * kUnrolled);
    for (std::int64_t tile = blockIdx.x; tile < runs.tiles; tile += gridDim.x) {
        const std::int64_t run = tile / runs.tiles_each;
        std::ptrdiff_t offsets[2];
        place(work.loops, work.loops.dims - 1, run, offsets);
        char* const output = work.output + offsets[0];
        const char* const input = work.input + offsets[1];
        const std::int64_t begin = (tile - run * runs.tiles_each) * kThreads * kUnrolled + warp * kWarp;
        In x[kUnrolled];
#pragma unroll
        for (int u = 0; u < kUnrolled; ++u) {
            const std::int64_t first = begin + u * kThreads;
            x[u].load(input, work.input_channel, first, limited(runs.vectors - first), lane);
        }
#pragma unroll
        for (int u = 0; u < kUnrolled; ++u) {
            const std::int64_t first = begin + u * kThreads;
            const int left = limited(runs.vectors - first);
            if (left <= 0) continue;  // the whole warp
            x[u].arrange(exchange, lane);
            Out y;
#pragma unroll
            for (int pixel = 0; pixel < kVector; ++pixel) {
                float in[kIn];
#pragma unroll
                for (int c = 0; c < kIn; ++c) {
                    if constexpr (kBytes) {
                        in[c] = lane < left ? table[x[u].at(pixel, c) * kWarp + lane] : 0.0f;
                    } else {
                        in[c] = widen(x[u].at(pixel, c));
                        if constexpr (kDirection == Direction::deconvolution) in[c] = logarithm(in[c]);
                    }
                }
#pragma unroll
                for (int o = 0; o < kOut; ++o) {
                    float value = matrix.output(in, o);
                    if constexpr (kDirection == Direction::reconvolution) value = exp2_of(value);
                    y.at(pixel, o) = work.clip ? clipped(kDirection, value) : value;
                }
            }
            y.store(output, work.output_channel, first, left, lane, exchange);
        }
    }
}

// Any dtype and strides: a pixel a thread.
template <class C>
__global__ void __launch_bounds__(kThreads) forward_any(const __grid_constant__ ForwardWork work) {
    const bool deconvolution = work.direction == Direction::deconvolution;
    const int ins = deconvolution ? kColors : work.stains, outs = deconvolution ? work.stains : kColors;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < work.loops.count;
         i += step) {
        std::ptrdiff_t offsets[2];
        place(work.loops, work.loops.dims, i, offsets);
        C y[kColors] = {};
        for (int c = 0; c < ins; ++c) {
            C x = load_any<C>(work.dtype, work.input + offsets[1] + c * work.input_channel);
            if (work.dtype == DType::uint8) {
                x = work.log2_byte[static_cast<int>(x)];
            } else if (deconvolution) {
                x = logarithm(x);
            }
#pragma unroll
            for (int o = 0; o < kColors; ++o) {
                if (o >= outs) continue;
                const int k = c * outs + o;
                y[o] += x * static_cast<C>(work.matrix.on_device ? work.matrix.on_device[k] * work.matrix.scale
                                                                 : work.matrix.values[k]);
            }
        }
#pragma unroll
        for (int o = 0; o < kColors; ++o) {
            if (o >= outs) continue;
            if (!deconvolution) y[o] = exp2_of(y[o]);
            if (work.clip) y[o] = clipped(work.direction, y[o]);
            *reinterpret_cast<C*>(work.output + offsets[0] + o * work.output_channel) = y[o];
        }
    }
}

template <Direction kDirection, class T, int kStains, bool kPacked>
void launch_pattern(const Queue& queue, int blocks, const ForwardWork& work) {
    constexpr int kBytes = shared_bytes<T, inputs(kDirection, kStains), outputs(kDirection, kStains), kPacked>();
    launch(queue, forward<kDirection, T, kStains, kPacked>, dim3(blocks), kThreads, kBytes, work);
}

template <Direction kDirection, class T, int kStains>
void launch_stains(const Queue& queue, int blocks, const ForwardWork& work) {
    const auto function = work.pattern == Pattern::packed ? launch_pattern<kDirection, T, kStains, true>
                                                          : launch_pattern<kDirection, T, kStains, false>;
    function(queue, blocks, work);
}

template <Direction kDirection, class T>
void launch_type(const Queue& queue, int blocks, const ForwardWork& work) {
    const auto function = work.stains == 1   ? launch_stains<kDirection, T, 1>
                          : work.stains == 2 ? launch_stains<kDirection, T, 2>
                                             : launch_stains<kDirection, T, 3>;
    function(queue, blocks, work);
}

}  // namespace

void launch_forward(const Queue& queue, int blocks, const ForwardWork& work) {
    const bool deconvolution = work.direction == Direction::deconvolution;
    if (work.pattern != Pattern::any) {
        switch (work.dtype) {
            case DType::uint8:
                return launch_type<Direction::deconvolution, unsigned char>(queue, blocks, work);
            case DType::float16:
                return launch_type<Direction::deconvolution, half>(queue, blocks, work);
            case DType::bfloat16:
                return launch_type<Direction::deconvolution, bfloat16>(queue, blocks, work);
            default:
                return deconvolution ? launch_type<Direction::deconvolution, float>(queue, blocks, work)
                                     : launch_type<Direction::reconvolution, float>(queue, blocks, work);
        }
    }
    if (work.dtype == DType::float64) {
        launch(queue, forward_any<double>, dim3(blocks), kThreads, 0, work);
    } else {
        launch(queue, forward_any<float>, dim3(blocks), kThreads, 0, work);
    }
}

}  // namespace pyemo::color::cuda
