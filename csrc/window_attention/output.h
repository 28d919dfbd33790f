// What the probabilities make of the values, on its way into the map. For kernel sources only.
#pragma once

#include "window_attention/softmax.h"
#include "window_attention/tokens.h"

namespace pyemo::PYEMO_ISA::window {

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
            T* const begin = reinterpret_cast<T*>(to + offsets[row + r]);
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) {
                const int place = static_cast<int>(column) + v * kLanes<C>;
                Vec<C> x = products[r][v];
                if (last) x += broadcast(last[row + r]) * last_row[v];
                x *= factor;
                if (kWhole || place + kLanes<C> <= head_dim) {
                    store(begin + place, x);
                } else if (place < head_dim) {
                    T rest[kLanes<C>];
                    store(rest, x);
                    std::memcpy(static_cast<void*>(begin + place), rest, sizeof(T) * (head_dim - place));
                }
            }
        }
    }
};

}  // namespace pyemo::PYEMO_ISA::window
