#include "window_attention/cuda/tiles.cuh"

namespace pyemo::window::cuda {

namespace {

// A block is one head of the windows of a part, one after the other; the next is loaded meanwhile if there is room. Of
// windows of one chunk, the bias stays in registers.
template <class T, int kWidth, bool kChunked>
__global__ void __launch_bounds__(kChunked ? 2 * kWarps * kWarp : kWarps * kWarp,
                                  kChunked ? 1 : forward_blocks(kWidth, sizeof(T)))
    forward(const __grid_constant__ Work work) {
    using Tile = Tiles<T, kWidth>;
    const Problem& problem = work.problem;
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
    const int rows = (problem.tokens + kChunk - 1) / kChunk * kChunk;
    const int head = blockIdx.x % problem.heads, part = blockIdx.x / problem.heads;
    const int tile = rows * Tile::kStride, stage = 3 * tile;
    T* const tiles = dynamic_shared<T>();
    float* const inverse = problem.logit_scale ? reinterpret_cast<float*>(tiles + work.stages * stage) : nullptr;
    const Range range(work, part);

    Tile::clear(tiles, work.stages * stage);
    __syncthreads();
    const auto load = [&](unsigned index) {
        const int slot = work.stages == 2 ? (index - range.begin) & 1 : 0;
        Tile::load(work, Window(problem, index), problem.qkv, head, 3, tiles + slot * stage, rows);
        commit_copies();
    };
    load(range.begin);

    float bias[kTiles][4];
    if constexpr (!kChunked) Logits(work, head, warp * 16, 0, lane).load_bias(bias);

    for (unsigned index = range.begin; index < range.end; ++index) {
        const bool ahead = work.stages == 2 && index + 1 < range.end;
        if (ahead) {
            load(index + 1);
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
        const Window window(problem, index);
        T* const queries = tiles + (work.stages == 2 ? (index - range.begin) & 1 : 0) * stage;
        const T *keys = queries + tile, *values = keys + tile;
        if (inverse) {
            Tile::inverse_lengths(queries, keys, rows, inverse);
            __syncthreads();
        }

        for (int first = warp * 16; first < problem.tokens; first += warps * 16) {
            Accumulator output[kWidth / 8] = {};
            float top[2] = {-infinity(), -infinity()}, sum[2] = {0, 0};
            for (int column = 0; column < (kChunked ? problem.tokens : 1); column += kChunk) {
                const int columns = kChunked ? problem.tokens - column : kChunk;
                Accumulator s[kTiles];
                multiply_rows<T, kWidth>(s, queries + first * Tile::kStride, keys + column * Tile::kStride, columns,
                                         lane);
                const Logits logits(work, head, first, column, lane);
                if constexpr (kChunked) logits.load_bias(bias);
                logits.apply(s, bias, window, inverse, rows);
                const float before[2] = {top[0], top[1]};
                largest_of_rows(s, top);
#pragma unroll
                for (int i = 0; kChunked && i < 2; ++i) {
                    const float factor = before[i] == -infinity() ? 0.0f : exp2_fast(before[i] - top[i]);
                    sum[i] *= factor;
#pragma unroll
                    for (int n = 0; n < kWidth / 8; ++n) {
                        output[n].c[2 * i] *= factor;
                        output[n].c[2 * i + 1] *= factor;
                    }
                }
                raise_powers(s, top, sum);
                add_product<T, kWidth>(output, s, values + column * Tile::kStride, columns, lane);
            }
            // The rows of queries are this warp's alone, and have been read.
            __syncwarp();
            Tile::put(output, 1 / sum_of_lanes<4>(sum[0]), 1 / sum_of_lanes<4>(sum[1]), queries, first, lane);
            __syncwarp();
            Tile::store(work, window, problem.output, head * problem.head_dim, queries, first, lane);
        }
        __syncthreads();
        if (work.stages == 1 && index + 1 < range.end) load(index + 1);
    }
}

template <class T, int kWidth>
void launch_width(const Queue& queue, bool chunked, int threads, std::size_t shared_bytes, const Work& work) {
    const dim3 grid(grid_size(static_cast<std::int64_t>(work.parts) * work.problem.heads));
    // Wide heads leave no registers for a bias: they always go the way of chunks.
    if constexpr (kWidth * sizeof(T) <= 128) {
        if (!chunked) return launch(queue, forward<T, kWidth, false>, grid, threads, shared_bytes, work);
    }
    launch(queue, forward<T, kWidth, true>, grid, threads, shared_bytes, work);
}

template <class T>
void launch_type(const Queue& queue, int width, bool chunked, int threads, std::size_t shared_bytes, const Work& work) {
    if (width == 32) return launch_width<T, 32>(queue, chunked, threads, shared_bytes, work);
    if (width == 64) return launch_width<T, 64>(queue, chunked, threads, shared_bytes, work);
    if constexpr (sizeof(T) == 2) launch_width<T, 128>(queue, chunked, threads, shared_bytes, work);
}

}  // namespace

void launch_forward(const Queue& queue, DType dtype, int width, bool chunked, int threads, std::size_t shared_bytes,
                    const Work& work) {
    switch (dtype) {
        case DType::float16:
            return launch_type<half>(queue, width, chunked, threads, shared_bytes, work);
        case DType::bfloat16:
            return launch_type<bfloat16>(queue, width, chunked, threads, shared_bytes, work);
        default:
            return launch_type<float>(queue, width, chunked, threads, shared_bytes, work);
    }
}

}  // namespace pyemo::window::cuda
