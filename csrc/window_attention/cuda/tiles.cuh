// A window's tokens in shared memory, and the logits of a chunk of them. For CUDA sources only.
#pragma once

#include "common/cuda/matrix.cuh"
#include "window_attention/cuda/kernels.h"

namespace pyemo::window::cuda {

using namespace pyemo::cuda;

constexpr int kTiles = kChunk / 8;  // of results, side by side in a chunk

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }

// A window's place in the map.
struct Window {
    unsigned image, in_image, row, column;  // row and column count windows

    __device__ __forceinline__ Window(const Problem& problem, unsigned index) {
        const unsigned rows = problem.rows_of_windows, columns = problem.columns_of_windows;
        image = index / (rows * columns);
        in_image = index - image * rows * columns;
        row = in_image / columns;
        column = in_image - row * columns;
    }

    // The bytes from the map's begin to a token, seen through the cyclic shift.
    __device__ __forceinline__ std::ptrdiff_t place(const Problem& problem, const Map& map, int token) const {
        const unsigned y = static_cast<unsigned>(token) / problem.window_width, x = token - y * problem.window_width;
        unsigned map_row = row * problem.window_height + y + problem.shift_height;
        unsigned map_column = column * problem.window_width + x + problem.shift_width;
        if (map_row >= problem.height) map_row -= static_cast<unsigned>(problem.height);
        if (map_column >= problem.width) map_column -= static_cast<unsigned>(problem.width);
        return image * map.batch + map_row * map.row + map_column * map.column;
    }

    // Two bits: in which directions the shift brought together, in this window, tokens that were apart.
    __device__ __forceinline__ unsigned mixed(const Problem& problem) const {
        return (problem.shift_height && row == problem.rows_of_windows - 1 ? 2u : 0u) |
               (problem.shift_width && column == problem.columns_of_windows - 1 ? 1u : 0u);
    }
};

// On which side of the shift's borders a token of a mixed window lies: two bits as above.
__device__ __forceinline__ unsigned side(const Problem& problem, int token) {
    const int y = static_cast<unsigned>(token) / problem.window_width, x = token - y * problem.window_width;
    return (y >= problem.window_height - problem.shift_height ? 2u : 0u) |
           (x >= problem.window_width - problem.shift_width ? 1u : 0u);
}

// Tiles of a window: rows of `kStride` elements, one a token.
template <class T, int kWidth>
struct Tiles {
    static constexpr int kStride = kWidth + 16 / static_cast<int>(sizeof(T));
    static constexpr int kPieces = kWidth * static_cast<int>(sizeof(T)) / 16;  // of a row
    static constexpr int kPieceItems = 16 / static_cast<int>(sizeof(T));

    // Reads `parts` neighbouring groups of channels of one head, each into a tile. What a row lacks to the width, and
    // rows beyond the tokens, are left as they are.
    static __device__ __forceinline__ void load(const Work& work, const Window& window, const Map& map, int head,
                                                int parts, T* tiles, int rows) {
        const Problem& problem = work.problem;
        const std::ptrdiff_t part_bytes = static_cast<std::ptrdiff_t>(problem.heads) * problem.head_dim * sizeof(T);
        const char* start = map.data + static_cast<std::ptrdiff_t>(head) * problem.head_dim * sizeof(T);
        const int piece = threadIdx.x % kPieces, step = blockDim.x / kPieces;
        for (int token = threadIdx.x / kPieces; token < problem.tokens; token += step) {
            const char* from = start + window.place(problem, map, token);
            T* to = tiles + token * kStride;
            for (int part = 0; part < parts; ++part, from += part_bytes, to += rows * kStride) {
                if (work.aligned) {
                    if (piece * kPieceItems < problem.head_dim) copy_async(to + piece * kPieceItems, from + piece * 16);
                } else {
                    for (int i = piece; i < problem.head_dim; i += kPieces) to[i] = reinterpret_cast<const T*>(from)[i];
                }
            }
        }
    }

    // Writes 16 rows of a tile, from row `first` on: one group of channels of one head.
    static __device__ __forceinline__ void store(const Work& work, const Window& window, const Map& map, int channel,
                                                 const T* tile, int first, int lane) {
        const Problem& problem = work.problem;
        char* start = map.data + static_cast<std::ptrdiff_t>(channel) * sizeof(T);
        const int piece = lane % kPieces;
        for (int row = lane / kPieces; row < 16 && first + row < problem.tokens; row += kWarp / kPieces) {
            char* to = start + window.place(problem, map, first + row);
            const T* from = tile + (first + row) * kStride;
            if (work.aligned) {
                if (piece * kPieceItems < problem.head_dim) {
                    *reinterpret_cast<uint4*>(to + piece * 16) =
                        *reinterpret_cast<const uint4*>(from + piece * kPieceItems);
                }
            } else {
                for (int i = piece; i < problem.head_dim; i += kPieces) reinterpret_cast<T*>(to)[i] = from[i];
            }
        }
    }

    // Sixteen rows of results into a tile, from row `first` on.
    static __device__ __forceinline__ void put(const Accumulator (&results)[kWidth / 8], float upper, float lower,
                                               T* tile, int first, int lane) {
        T* row = tile + (first + lane / 4) * kStride + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < kWidth / 8; ++n) {
            const float (&c)[4] = results[n].c;
            Matrix<T>::store_pair(row + 8 * n, c[0] * upper, c[1] * upper);
            Matrix<T>::store_pair(row + 8 * n + 8 * kStride, c[2] * lower, c[3] * lower);
        }
    }

    // Zeros, so that what no token fills adds nothing.
    static __device__ __forceinline__ void clear(T* tiles, int count) {
        for (int i = threadIdx.x * kPieceItems; i < count; i += blockDim.x * kPieceItems) {
            *reinterpret_cast<uint4*>(tiles + i) = make_uint4(0, 0, 0, 0);
        }
    }

    // 1 / length of each row, of queries and keys.
    static __device__ __forceinline__ void inverse_lengths(const T* queries, const T* keys, int rows, float* inverse) {
        for (int i = threadIdx.x; i < 2 * rows; i += blockDim.x) {
            const T* row = i < rows ? queries + i * kStride : keys + (i - rows) * kStride;
            float sum = 0;
            for (int k = 0; k < kWidth; ++k) sum += widen(row[k]) * widen(row[k]);
            inverse[i] = 1 / fmaxf(sqrtf(sum), static_cast<float>(kShortest));
        }
    }
};

// result = rows of `left` times rows of `right`, which are kWidth long: of 16 rows and a chunk's columns.
template <class T, int kWidth>
__device__ __forceinline__ void multiply_rows(Accumulator (&result)[kTiles], const T* left, const T* right, int columns,
                                              int lane) {
    using M = Matrix<T>;
    constexpr int kStride = Tiles<T, kWidth>::kStride;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) result[n] = {};
#pragma unroll
    for (int k = 0; k < kWidth / M::kDepth; ++k) {
        const typename M::Left a = M::left_by_rows(left + k * M::kDepth, kStride, lane);
#pragma unroll
        for (int n = 0; n < kTiles; n += 2) {
            if (n * 8 >= columns) continue;
            typename M::Right b[2];
            M::right_by_rows(b, right + n * 8 * kStride + k * M::kDepth, kStride, lane);
            M::multiply(result[n], a, b[0]);
            M::multiply(result[n + 1], a, b[1]);
        }
    }
}

// result += a chunk's results, as 16 rows of terms, times those rows of `right`.
template <class T, int kWidth>
__device__ __forceinline__ void add_product(Accumulator (&result)[kWidth / 8], const Accumulator (&left)[kTiles],
                                            const T* right, int terms, int lane) {
    using M = Matrix<T>;
    constexpr int kStride = Tiles<T, kWidth>::kStride;
#pragma unroll
    for (int k = 0; k < kChunk / M::kDepth; ++k) {
        if (k * M::kDepth >= terms) continue;
        const typename M::Left a = M::left_of(left + k * M::kTiles);
#pragma unroll
        for (int n = 0; n < kWidth / 8; n += 2) {
            typename M::Right b[2];
            M::right_by_terms(b, right + k * M::kDepth * kStride + n * 8, kStride, lane);
            M::multiply(result[n], a, b[0]);
            M::multiply(result[n + 1], a, b[1]);
        }
    }
}

// result += the transpose of 16 columns of `left`, which has a chunk's rows of terms, times those rows of `right`.
template <class T, int kWidth>
__device__ __forceinline__ void add_transposed_product(Accumulator (&result)[kWidth / 8], const T* left,
                                                       int left_stride, const T* right, int terms, int lane) {
    using M = Matrix<T>;
    constexpr int kStride = Tiles<T, kWidth>::kStride;
#pragma unroll
    for (int k = 0; k < kChunk / M::kDepth; ++k) {
        if (k * M::kDepth >= terms) continue;
        const typename M::Left a = M::left_by_terms(left + k * M::kDepth * left_stride, left_stride, lane);
#pragma unroll
        for (int n = 0; n < kWidth / 8; n += 2) {
            typename M::Right b[2];
            M::right_by_terms(b, right + k * M::kDepth * kStride + n * 8, kStride, lane);
            M::multiply(result[n], a, b[0]);
            M::multiply(result[n + 1], a, b[1]);
        }
    }
}

// What becomes of products of queries and keys: the logits of 16 rows and a chunk of columns, in units of log2(e).
// A lane's elements are those of its accumulators: [tile][2 * (row below) + (column to the right)].
struct Logits {
    const Work& work;
    int head, row, column;  // the lane's first row and column
    float scale;            // in units of log2(e)
    unsigned column_sides;  // two bits for each of the lane's columns

    __device__ __forceinline__ Logits(const Work& work, int head, int first_row, int first_column, int lane)
        : work(work), head(head), row(first_row + lane / 4), column(first_column + lane % 4 * 2), column_sides(0) {
        const Problem& problem = work.problem;
        scale = static_cast<float>(kLog2E) * (problem.logit_scale ? static_cast<const float*>(problem.logit_scale)[head]
                                                                  : static_cast<float>(problem.scale));
        if (problem.shift_height || problem.shift_width) {
#pragma unroll
            for (int i = 0; i < 2 * kTiles; ++i) {
                const int j = column + i / 2 * 8 + i % 2;
                if (j < problem.tokens) column_sides |= side(problem, j) << (2 * i);
            }
        }
    }

    __device__ __forceinline__ int row_of(int i) const { return row + (i / 2) * 8; }
    __device__ __forceinline__ int column_of(int n, int i) const { return column + n * 8 + i % 2; }

    // The biases of the lane's elements; minus infinity where there is no key.
    __device__ __forceinline__ void load_bias(float (&bias)[kTiles][4]) const {
        const Problem& problem = work.problem;
        const float* given = static_cast<const float*>(problem.bias) + offset(head);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const bool has_row = problem.bias && row_of(i) < problem.tokens;
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
                const bool has_column = column_of(n, i) < problem.tokens;
                bias[n][i] = has_column ? 0.0f : -infinity();
                if (has_row && has_column)
                    bias[n][i] =
                        __ldg(given + (i / 2 * 8) * problem.tokens + n * 8 + i % 2) * static_cast<float>(kLog2E);
            }
        }
    }

    // `inverse`: inverse lengths of queries, then of keys from `rows` on, or null.
    __device__ __forceinline__ void apply(Accumulator (&s)[kTiles], const float (&bias)[kTiles][4],
                                          const Window& window, const float* inverse, int rows) const {
        const Problem& problem = work.problem;
        if (inverse) {
            const float of_row[2] = {inverse[row], inverse[row + 8]};
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) s[n].c[i] *= of_row[i / 2] * inverse[rows + column_of(n, i)];
            }
        }
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) s[n].c[i] = s[n].c[i] * scale + bias[n][i];
        }
        if (const unsigned mixed = window.mixed(problem)) {
            constexpr float kPenalty = static_cast<float>(kShiftPenalty * kLog2E);
            const unsigned sides[2] = {side(problem, row), side(problem, row + 8)};
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const unsigned other = column_sides >> (2 * (2 * n + i % 2));
                    if ((sides[i / 2] ^ other) & mixed) s[n].c[i] += kPenalty;
                }
            }
        }
        if (problem.mask) {
            const float* mask = static_cast<const float*>(problem.mask) + offset(window.in_image);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if (row_of(i) >= problem.tokens) continue;
#pragma unroll
                for (int n = 0; n < kTiles; ++n) {
                    if (column_of(n, i) >= problem.tokens) continue;
                    s[n].c[i] += mask[(i / 2 * 8) * problem.tokens + n * 8 + i % 2] * static_cast<float>(kLog2E);
                }
            }
        }
    }

    // To the lane's first element in matrices (.., tokens, tokens).
    __device__ __forceinline__ std::int64_t offset(std::int64_t matrix) const {
        return (matrix * work.problem.tokens + row) * work.problem.tokens + column;
    }
};

// The largest of each of the lane's two rows, of all lanes that share them.
__device__ __forceinline__ void largest_of_rows(const Accumulator (&s)[kTiles], float (&top)[2]) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
        top[0] = fmaxf(top[0], fmaxf(s[n].c[0], s[n].c[1]));
        top[1] = fmaxf(top[1], fmaxf(s[n].c[2], s[n].c[3]));
    }
    top[0] = largest_of_lanes<4>(top[0]);
    top[1] = largest_of_lanes<4>(top[1]);
}

// 2^(s - top) in the place of s; adds the lane's own part of the rows' sums. Rows of nothing but minus infinity get the
// sum 0.
__device__ __forceinline__ void raise_powers(Accumulator (&s)[kTiles], const float (&top)[2], float (&sum)[2]) {
    const float shift[2] = {top[0] == -infinity() ? 0.0f : top[0], top[1] == -infinity() ? 0.0f : top[1]};
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            s[n].c[i] = exp2_fast(s[n].c[i] - shift[i / 2]);
            sum[i / 2] += s[n].c[i];
        }
    }
}

// The windows of a part: [begin, end).
struct Range {
    unsigned begin, end;
    __device__ __forceinline__ Range(const Work& work, int part)
        : begin(static_cast<unsigned>(part * work.windows / work.parts)),
          end(static_cast<unsigned>((part + 1) * work.windows / work.parts)) {}
};

}  // namespace pyemo::window::cuda
