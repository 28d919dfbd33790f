#include "window_attention/cuda/tiles.cuh"

namespace pyemo::window::cuda {

namespace {

// What a warp has of the rows it works on.
struct Rows {
    float top[2];      // the largest logit; of several chunks, that plus the logarithm of the sum of powers
    float inverse[2];  // 1 / sum of powers
    float mean[2];     // of the gradients of the probabilities, weighted with these
};

// From logits to probabilities; several chunks have their rows' numbers already.
template <bool kChunked>
__device__ __forceinline__ void normalize(Accumulator (&s)[kTiles], Rows& rows) {
    if constexpr (kChunked) {
        float unused[2] = {0, 0};
        raise_powers(s, rows.top, unused);
    } else {
        float sum[2] = {0, 0};
        rows.top[0] = rows.top[1] = -infinity();
        largest_of_rows(s, rows.top);
        raise_powers(s, rows.top, sum);
#pragma unroll
        for (int i = 0; i < 2; ++i) rows.inverse[i] = 1 / sum_of_lanes<4>(sum[i]);
    }
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n].c[i] *= rows.inverse[i / 2];
    }
}

__device__ __forceinline__ void add_means(const Accumulator (&p)[kTiles], const Accumulator (&grad)[kTiles],
                                          float (&mean)[2]) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) mean[i / 2] += p[n].c[i] * grad[n].c[i];
    }
}

// Through the division of cosine attention's queries or keys by their lengths: `grad` (16 rows of results) is
// that of the unit vectors; a vector that counts as kShortest long is only scaled.
template <class T, int kWidth>
__device__ __forceinline__ void through_lengths(Accumulator (&grad)[kWidth / 8], const T* tile, const float* inverse,
                                                int lane) {
    const T* row = tile + lane / 4 * Tiles<T, kWidth>::kStride + lane % 4 * 2;
#pragma unroll
    for (int half_tile = 0; half_tile < 2; ++half_tile, row += 8 * Tiles<T, kWidth>::kStride) {
        const float length = inverse[lane / 4 + 8 * half_tile];
        float along = 0;
#pragma unroll
        for (int n = 0; n < kWidth / 8; ++n) {
            along +=
                grad[n].c[2 * half_tile] * widen(row[8 * n]) + grad[n].c[2 * half_tile + 1] * widen(row[8 * n + 1]);
        }
        along = sum_of_lanes<4>(along) * length * length;
        if (!(length < static_cast<float>(1 / kShortest))) along = 0;
#pragma unroll
        for (int n = 0; n < kWidth / 8; ++n) {
            grad[n].c[2 * half_tile] = (grad[n].c[2 * half_tile] - widen(row[8 * n]) * along) * length;
            grad[n].c[2 * half_tile + 1] = (grad[n].c[2 * half_tile + 1] - widen(row[8 * n + 1]) * along) * length;
        }
    }
}

// A block is one head of the windows of a part, one after the other. The probabilities are computed again. Of windows
// of one chunk, the gradient of the bias adds up in registers; of several, in the part's own sums in memory.
template <class T, int kWidth, bool kChunked>
__global__ void __launch_bounds__(kWarps* kWarp, kChunked ? 1 : backward_blocks(kWidth, sizeof(T)))
    backward(const __grid_constant__ Work work) {
    using Tile = Tiles<T, kWidth>;
    using M = Matrix<T>;
    constexpr int kStaging = kChunk + 16 / static_cast<int>(sizeof(T)), kQueryStride = kWidth + 4;
    const Problem& problem = work.problem;
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int rows = (problem.tokens + kChunk - 1) / kChunk * kChunk;
    const int head = blockIdx.x % problem.heads, part = blockIdx.x / problem.heads;
    const int channels = problem.heads * problem.head_dim, channel = head * problem.head_dim;
    const int tile = rows * Tile::kStride, stage = 4 * tile;
    T* const tiles = dynamic_shared<T>();
    T* const staged_p = tiles + work.stages * stage;  // a chunk's probabilities
    T* const staged_grad = staged_p + kChunk * kStaging;
    float* const lengths = reinterpret_cast<float*>(staged_grad + kChunk * kStaging);
    double* const scale_sums = reinterpret_cast<double*>(lengths + 2 * rows);
    float* const row_numbers = reinterpret_cast<float*>(scale_sums + kWarps);  // of several chunks, from here on
    float* const grad_queries = row_numbers + 2 * rows;
    float* const inverse = problem.logit_scale ? lengths : nullptr;
    float* const bias_sums = static_cast<float*>(work.bias_sums) +
                             (static_cast<std::int64_t>(part) * problem.heads + head) * problem.tokens * problem.tokens;
    const Range range(work, part);
    // Of the products of queries and keys, or of unit vectors.
    const float scale =
        problem.logit_scale ? static_cast<const float*>(problem.logit_scale)[head] : static_cast<float>(problem.scale);

    Tile::clear(tiles, work.stages * stage);
    __syncthreads();
    const auto load = [&](unsigned index) {
        T* const to = tiles + (work.stages == 2 ? (index - range.begin) & 1 : 0) * stage;
        const Window window(problem, index);
        Tile::load(work, window, problem.qkv, head, 3, to, rows);
        Tile::load(work, window, problem.output, head, 1, to + 3 * tile, rows);
        commit_copies();
    };
    load(range.begin);

    float bias[kTiles][4];
    Accumulator grad_bias[kTiles] = {};
    float grad_scale = 0;
    if constexpr (!kChunked) Logits(work, head, warp * 16, 0, lane).load_bias(bias);

    for (unsigned index = range.begin; index < range.end; ++index) {
        if (work.stages == 2 && index + 1 < range.end) {
            load(index + 1);
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
        const Window window(problem, index);
        T* const queries = tiles + (work.stages == 2 ? (index - range.begin) & 1 : 0) * stage;
        T *const keys = queries + tile, *const values = keys + tile, *const grads = values + tile;
        if (inverse) {
            Tile::inverse_lengths(queries, keys, rows, inverse);
            __syncthreads();
        }

        // Of 16 rows and a chunk's columns: the logits in `s`, the gradients of the probabilities in `grad`.
        const auto weigh = [&](const Logits& logits, int first, int column, int columns, Accumulator(&s)[kTiles],
                               Accumulator(&grad)[kTiles]) {
            multiply_rows<T, kWidth>(s, queries + first * Tile::kStride, keys + column * Tile::kStride, columns, lane);
            if constexpr (kChunked) logits.load_bias(bias);
            logits.apply(s, bias, window, inverse, rows);
            multiply_rows<T, kWidth>(grad, grads + first * Tile::kStride, values + column * Tile::kStride, columns,
                                     lane);
        };

        if constexpr (kChunked) {  // the rows' numbers, which take a passage of their own
            for (int first = warp * 16; first < rows; first += kWarps * 16) {
                float top[2] = {-infinity(), -infinity()}, sum[2] = {0, 0}, mean[2] = {0, 0};
                for (int column = 0; column < problem.tokens; column += kChunk) {
                    Accumulator s[kTiles], grad[kTiles];
                    const Logits logits(work, head, first, column, lane);
                    weigh(logits, first, column, problem.tokens - column, s, grad);
                    const float before[2] = {top[0], top[1]};
                    largest_of_rows(s, top);
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        const float factor = before[i] == -infinity() ? 0.0f : exp2_fast(before[i] - top[i]);
                        sum[i] *= factor, mean[i] *= factor;
                    }
                    raise_powers(s, top, sum);
                    add_means(s, grad, mean);
                }
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const float total = sum_of_lanes<4>(sum[i]), weighted = sum_of_lanes<4>(mean[i]);
                    const int row = first + lane / 4 + 8 * i;
                    // Nothing but minus infinity: what follows is to be NaN.
                    row_numbers[row] = total == 0 ? infinity() * 0.0f : top[i] + log2f(total);
                    row_numbers[rows + row] = weighted / total;
                }
            }
            for (int i = threadIdx.x; i < rows * kQueryStride; i += blockDim.x) grad_queries[i] = 0;
            __syncthreads();
        }

        for (int column = 0; column < (kChunked ? rows : 1); column += kChunk) {
            const int columns = kChunked ? problem.tokens - column : kChunk;
            Accumulator grad_keys[kWidth / 8] = {}, grad_values[kWidth / 8] = {};
            for (int chunk = 0; chunk < (kChunked ? rows : 1); chunk += kChunk) {
                const int first = chunk + warp * 16, terms = kChunked ? problem.tokens - chunk : kChunk;
                {
                    Accumulator s[kTiles], grad[kTiles];
                    const Logits logits(work, head, first, column, lane);
                    weigh(logits, first, column, columns, s, grad);
                    Rows numbers{};
                    if constexpr (kChunked) {
#pragma unroll
                        for (int i = 0; i < 2; ++i) {
                            numbers.top[i] = row_numbers[first + lane / 4 + 8 * i];
                            numbers.mean[i] = row_numbers[rows + first + lane / 4 + 8 * i];
                            numbers.inverse[i] = 1;
                        }
                    }
                    normalize<kChunked>(s, numbers);
                    if constexpr (!kChunked) {
                        add_means(s, grad, numbers.mean);
#pragma unroll
                        for (int i = 0; i < 2; ++i) numbers.mean[i] = sum_of_lanes<4>(numbers.mean[i]);
                    }
                    // The gradient of the logits, in `grad`.
#pragma unroll
                    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                        for (int i = 0; i < 4; ++i) grad[n].c[i] = s[n].c[i] * (grad[n].c[i] - numbers.mean[i / 2]);
                    }
                    if (work.bias_sums) {
                        if constexpr (kChunked) {
                            float* const sums =
                                bias_sums + static_cast<std::int64_t>(logits.row) * problem.tokens + logits.column;
#pragma unroll
                            for (int i = 0; i < 4; ++i) {
                                if (logits.row_of(i) >= problem.tokens) continue;
#pragma unroll
                                for (int n = 0; n < kTiles; ++n) {
                                    if (logits.column_of(n, i) >= problem.tokens) continue;
                                    float& sum = sums[(i / 2 * 8) * problem.tokens + n * 8 + i % 2];
                                    sum = index == range.begin ? grad[n].c[i] : sum + grad[n].c[i];
                                }
                            }
                        } else {
#pragma unroll
                            for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                                for (int i = 0; i < 4; ++i) grad_bias[n].c[i] += grad[n].c[i];
                            }
                        }
                    }
                    if (inverse && work.scale_sums) {
                        // The products once more, which the logits have taken the place of: the sum is of small
                        // differences, too small to be had from rounded factors.
                        Accumulator products[kTiles];
                        multiply_rows<T, kWidth>(products, queries + first * Tile::kStride,
                                                 keys + column * Tile::kStride, columns, lane);
#pragma unroll
                        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                            for (int i = 0; i < 4; ++i) {
                                grad_scale += grad[n].c[i] * products[n].c[i] * inverse[logits.row_of(i)] *
                                              inverse[rows + logits.column_of(n, i)];
                            }
                        }
                    }

                    // For the other warps, which have the keys and values.
                    const float of_row[2] = {inverse ? inverse[first + lane / 4] : 1.0f,
                                             inverse ? inverse[first + lane / 4 + 8] : 1.0f};
                    const int at = (warp * 16 + lane / 4) * kStaging + lane % 4 * 2;
#pragma unroll
                    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                        for (int i = 0; i < 2; ++i) {
                            const int to = at + i * 8 * kStaging + n * 8;
                            M::store_pair(staged_p + to, s[n].c[2 * i], s[n].c[2 * i + 1]);
                            M::store_pair(staged_grad + to, grad[n].c[2 * i] * of_row[i],
                                          grad[n].c[2 * i + 1] * of_row[i]);
                        }
                    }
                    if (inverse) {
#pragma unroll
                        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                            for (int i = 0; i < 4; ++i) grad[n].c[i] *= inverse[rows + logits.column_of(n, i)];
                        }
                    }
                    Accumulator result[kWidth / 8] = {};
                    add_product<T, kWidth>(result, grad, keys + column * Tile::kStride, columns, lane);
                    if constexpr (kChunked) {
                        float* row = grad_queries + (first + lane / 4) * kQueryStride + lane % 4 * 2;
#pragma unroll
                        for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
                            for (int i = 0; i < 4; ++i) {
                                row[n * 8 + i % 2 + (i / 2) * 8 * kQueryStride] += result[n].c[i];
                            }
                        }
                        __syncthreads();
                    } else {
                        if (inverse) {
                            through_lengths<T, kWidth>(result, queries + first * Tile::kStride, inverse + first, lane);
                        }
                        __syncthreads();  // from here on, no one reads the values
                        Tile::put(result, scale, scale, values, first, lane);
                        __syncwarp();
                        Tile::store(work, window, problem.grad_qkv, channel, values, first, lane);
                        __syncwarp();
                    }
                }

                // This warp's 16 keys.
                add_transposed_product<T, kWidth>(grad_values, staged_p + warp * 16, kStaging,
                                                  grads + chunk * Tile::kStride, terms, lane);
                add_transposed_product<T, kWidth>(grad_keys, staged_grad + warp * 16, kStaging,
                                                  queries + chunk * Tile::kStride, terms, lane);
                if constexpr (kChunked) __syncthreads();
            }
            const int first = column + warp * 16;
            Tile::put(grad_values, 1, 1, values, first, lane);
            __syncwarp();
            Tile::store(work, window, problem.grad_qkv, 2 * channels + channel, values, first, lane);
            if (inverse) {
                through_lengths<T, kWidth>(grad_keys, keys + first * Tile::kStride, inverse + rows + first, lane);
                __syncwarp();
            }
            Tile::put(grad_keys, scale, scale, keys, first, lane);
            __syncwarp();
            Tile::store(work, window, problem.grad_qkv, channels + channel, keys, first, lane);
        }

        if constexpr (kChunked) {
            for (int first = warp * 16; first < problem.tokens; first += kWarps * 16) {
                Accumulator result[kWidth / 8];
                const float* row = grad_queries + (first + lane / 4) * kQueryStride + lane % 4 * 2;
#pragma unroll
                for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) result[n].c[i] = row[n * 8 + i % 2 + (i / 2) * 8 * kQueryStride];
                }
                if (inverse) through_lengths<T, kWidth>(result, queries + first * Tile::kStride, inverse + first, lane);
                __syncwarp();
                Tile::put(result, scale, scale, queries, first, lane);
                __syncwarp();
                Tile::store(work, window, problem.grad_qkv, channel, queries, first, lane);
            }
        }
        __syncthreads();
        if (work.stages == 1 && index + 1 < range.end) load(index + 1);
    }

    if (!kChunked && work.bias_sums) {
        const Logits logits(work, head, warp * 16, 0, lane);
        float* const sums = bias_sums + static_cast<std::int64_t>(logits.row) * problem.tokens + logits.column;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (logits.row_of(i) >= problem.tokens) continue;
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
                if (logits.column_of(n, i) >= problem.tokens) continue;
                sums[(i / 2 * 8) * problem.tokens + n * 8 + i % 2] = grad_bias[n].c[i];
            }
        }
    }
    if (work.scale_sums) {
        const double sum = sum_of_lanes<kWarp>(static_cast<double>(grad_scale));
        if (lane == 0) scale_sums[warp] = sum;
        __syncthreads();
        if (threadIdx.x == 0) {
            double total = 0;
            for (int w = 0; w < kWarps; ++w) total += scale_sums[w];
            static_cast<float*>(work.scale_sums)[blockIdx.x] = static_cast<float>(total);
        }
    }
}

template <class T, int kWidth>
void launch_width(const Queue& queue, bool chunked, std::size_t shared_bytes, const Work& work) {
    const dim3 grid(grid_size(static_cast<std::int64_t>(work.parts) * work.problem.heads));
    if constexpr (kWidth * sizeof(T) <= 128) {
        if (!chunked) return launch(queue, backward<T, kWidth, false>, grid, kWarps * kWarp, shared_bytes, work);
    }
    launch(queue, backward<T, kWidth, true>, grid, kWarps * kWarp, shared_bytes, work);
}

template <class T>
void launch_type(const Queue& queue, int width, bool chunked, std::size_t shared_bytes, const Work& work) {
    if (width == 32) return launch_width<T, 32>(queue, chunked, shared_bytes, work);
    if (width == 64) return launch_width<T, 64>(queue, chunked, shared_bytes, work);
    if constexpr (sizeof(T) == 2) launch_width<T, 128>(queue, chunked, shared_bytes, work);
}

}  // namespace

void launch_backward(const Queue& queue, DType dtype, int width, bool chunked, std::size_t shared_bytes,
                     const Work& work) {
    switch (dtype) {
        case DType::float16:
            return launch_type<half>(queue, width, chunked, shared_bytes, work);
        case DType::bfloat16:
            return launch_type<bfloat16>(queue, width, chunked, shared_bytes, work);
        default:
            return launch_type<float>(queue, width, chunked, shared_bytes, work);
    }
}

}  // namespace pyemo::window::cuda
