// Matrices as the right factors of products. For kernel sources only.
#pragma once

#include "common/simd_matrix.h"
#include "dense/kernels.h"

namespace pyemo::PYEMO_ISA::dense {

using namespace simd;
using pyemo::dense::Matrix;

template <class T>
inline const T* row_of(const Matrix& m, std::int64_t row) {
    return reinterpret_cast<const T*>(m.data) + row * m.row;
}

// Rows of a matrix, or pairs of them, one after the other, each with zeros up to `stride`.
template <class T>
inline void pack_rows(const Matrix& m, std::int64_t begin, int rows, int columns, int stride, Factor<T>* to) {
    constexpr bool kPairs = sizeof(T) == 2;
    constexpr int n = kLanes<float>;
    for (int i = 0; i < rows; i += kPairs ? 2 : 1, to += stride) {
        const T* first = row_of<T>(m, begin + i);
        int j = 0;
        if constexpr (kPairs) {
            const bool both = i + 1 < rows;
            const T* second = both ? row_of<T>(m, begin + i + 1) : first;
            const Bits keep = Bits{} + (both ? 0xffff0000u : 0u);
            for (; j + n <= columns; j += n) {
                const Bits pairs =
                    widen(load_bits<HalfBits>(first + j)) | (widen(load_bits<HalfBits>(second + j)) << 16 & keep);
                store_bits(to + j, pairs);
            }
            for (; j < columns; ++j) to[j] = first[j].bits | (both ? std::uint32_t{second[j].bits} << 16 : 0);
        } else {
            std::memcpy(to, first, columns * sizeof(float));
            j = columns;
        }
        for (; j < stride; ++j) to[j] = 0;
    }
}

// The same of the columns of a matrix (rows x depth): each, or each pair, becomes a row.
template <class T>
inline void pack_columns(const Matrix& m, std::int64_t begin, int rows, int depth, int stride, Factor<T>* to) {
    constexpr int n = kLanes<float>, kValues = sizeof(Factor<T>) / sizeof(T), kWhole = n * kValues;
    const int whole = depth / kWhole * kWhole;
    for (int i = 0; i < stride; i += n) {
        const int count = rows - i < 0 ? 0 : rows - i;
        transpose<Factor<T>>(
            count < n ? count : n, whole / kValues,
            [&](int k) { return reinterpret_cast<const Factor<T>*>(row_of<T>(m, begin + i + k)); }, to + i, stride);
        if (count == 0) {  // there is no row to be turned
            for (int k = 0; k < whole / kValues; ++k) store_bits(to + k * stride + i, Bits{});
        }
        if (whole == depth) continue;
        for (int k = whole; k < depth; k += kValues) {
            for (int r = 0; r < n; ++r) {
                T values[kValues] = {};
                const int left = depth - k < kValues ? depth - k : kValues;
                if (r < count) std::memcpy(values, row_of<T>(m, begin + i + r) + k, left * sizeof(T));
                std::memcpy(to + (k / kValues) * stride + i + r, values, sizeof values);
            }
        }
    }
}

}  // namespace pyemo::PYEMO_ISA::dense
