// What the probabilities make of the values, on its way into the map. For kernel sources only.
#pragma once

#include "window_attention/softmax.h"
#include "window_attention/tokens.h"

namespace pyemo::PYEMO_ISA::window {

// Writes the vectors of a row of the map from `column` on, as far as they belong to the head. `kWhole`: they all do.
template <bool kWhole, class T, class V, int kVectors>
PYEMO_INLINE void write_part(const V (&x)[kVectors], int head_dim, int column, T* row) {
    constexpr int kLanes = sizeof(V) / sizeof(x[0][0]);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v, column += kLanes) {
        if (kWhole || column + kLanes <= head_dim) {
            store(row + column, x[v]);
        } else if (column < head_dim) {
            T rest[kLanes];
            store(rest, x[v]);
            std::memcpy(static_cast<void*>(row + column), rest, sizeof(T) * (head_dim - column));
        }
    }
}

// Products of (tokens x tokens) and (tokens x width), in registers, on their way into the rows of a map. See
// simd::multiply. `kWhole`: head_dim is a multiple of the vectors.
template <class T, class C, class Value, bool kWhole>
struct Output {
    char* to;
    const std::ptrdiff_t* offsets;
    int head_dim;
    const C* inverse;    // factor of each row
    const C* last;       // the powers' last column, if what it gives is still to be added, else null
    const Value* value;  // of the last token

    Output(const Problem& problem, const std::ptrdiff_t* offsets, int head, const Columns<C>& columns,
           const RowValues<C>& rows, const Value* value)
        : to(problem.output.data + head * problem.head_dim * static_cast<std::ptrdiff_t>(sizeof(T))),
          offsets(offsets),
          head_dim(problem.head_dim),
          inverse(rows.inverse),
          last(columns.single ? rows.last : nullptr),
          value(value) {}

    template <int kRows, int kVectors>
    PYEMO_INLINE void operator()(int row, std::ptrdiff_t column, const Vec<C> (&products)[kRows][kVectors]) const {
        Vec<C> last_row[kVectors] = {};
        if (last) {
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) last_row[v] = load(value + column + v * kLanes<C>);
        }
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const Vec<C> factor = broadcast(inverse[row + r]);
            Vec<C> x[kVectors];
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) {
                x[v] = products[r][v];
                if (last) x[v] += broadcast(last[row + r]) * last_row[v];
                x[v] *= factor;
            }
            write_part<kWhole>(x, head_dim, static_cast<int>(column), reinterpret_cast<T*>(to + offsets[row + r]));
        }
    }
};

// Such products times a factor, on their way into the rows of a gradient, of a head_dim that is a multiple of the
// vectors.
template <class T, class C>
struct TokenGradient {
    char* to;
    const std::ptrdiff_t* offsets;
    C factor;

    template <int kRows, int kVectors>
    PYEMO_INLINE void operator()(int row, std::ptrdiff_t column, const Vec<C> (&products)[kRows][kVectors]) const {
        const Vec<C> wide = broadcast(factor);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            Vec<C> x[kVectors];
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) x[v] = products[r][v] * wide;
            write_part<true>(x, 0, static_cast<int>(column), reinterpret_cast<T*>(to + offsets[row + r]));
        }
    }
};

}  // namespace pyemo::PYEMO_ISA::window
