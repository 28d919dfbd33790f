// Products of a gradient, turned, and the layer's input. For kernel sources only.
#pragma once

#include <algorithm>

#include "dense/packing.h"

namespace pyemo::PYEMO_ISA::dense {

using pyemo::dense::Part;

// A product of some rows, stored, or added to those of the rows before.
struct Accumulate {
    float* c;
    std::ptrdiff_t c_row;
    bool first;

    template <int kRows, int kVectors>
    PYEMO_INLINE void operator()(int row, std::ptrdiff_t column, const Vec<float> (&sum)[kRows][kVectors]) const {
        float* to = c + row * c_row + column;
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r, to += c_row) {
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) {
                float* at = to + v * kLanes<float>;
                store(at, first ? sum[r][v] : load(at) + sum[r][v]);
            }
        }
    }
};

// Elements of float are multiplied where they are; bfloat16 as pairs of two rows.
template <class T>
struct WeightGradientKernel {
    static constexpr bool kPairs = sizeof(T) == 2;
    using F = Factor<T>;
    static constexpr int n = kLanes<float>;
    static constexpr int kRows = kPairs ? 512 : 128;           // of a block, which stays in the caches
    static constexpr int kDepth = kPairs ? kRows / 2 : kRows;  // of its product

    struct Scratch {
        const F** rows;           // of the right factor
        std::ptrdiff_t* offsets;  // of the rows of a block, in bytes
        F *left, *right;          // packed, if they have to be
        const char** lines;

        static std::size_t lines_of(const Part& p) {
            return kRows * (static_cast<std::size_t>(p.outputs + p.inputs) * sizeof(T) / 64 + 4);
        }
        Scratch(const Part& p, char* memory) {
            const auto take = [&](auto*& what, std::size_t count) {
                if (memory) what = reinterpret_cast<std::remove_reference_t<decltype(what)>>(memory + bytes);
                bytes += (count * sizeof *what + 63) / 64 * 64;
            };
            take(rows, kDepth);
            take(offsets, kRows);
            take(left, kPairs ? static_cast<std::size_t>(kDepth) * p.outputs : 0);
            take(right, static_cast<std::size_t>(kDepth) * round_up(p.inputs, n));
            take(lines, Ahead::room(static_cast<int>(lines_of(p)), kDepth));
        }
        std::size_t bytes = 0;
    };

    // Whole vectors cannot be read from rows that do not consist of them.
    static bool packs(const Part& p) { return kPairs || p.inputs % n != 0; }

    static std::size_t scratch_bytes(const Part& p) { return Scratch(p, nullptr).bytes; }

    static void add_sums(const Part& p, std::int64_t begin, int rows) {
        for (int i = 0; i < rows; ++i) {
            const T* row = row_of<T>(p.dy, begin + i);
            int j = 0;
            for (; j + n <= p.outputs; j += n) store(p.sums + j, load(p.sums + j) + load(row + j));
            for (; j < p.outputs; ++j) p.sums[j] += scalar(row[j]);
        }
    }

    static void fetch_later(const Part& p, std::int64_t begin, std::ptrdiff_t* offsets, Ahead& ahead) {
        const int rows = static_cast<int>(std::min<std::int64_t>(kRows, p.rows - begin));
        for (const auto& [matrix, columns] : {std::pair(p.dy, p.outputs), std::pair(p.x, p.inputs)}) {
            if (rows <= 0) break;
            for (int i = 0; i < rows; ++i) offsets[i] = i * matrix.row * static_cast<std::ptrdiff_t>(sizeof(T));
            ahead.add(reinterpret_cast<const char*>(row_of<T>(matrix, begin)), offsets, rows,
                      columns * static_cast<std::ptrdiff_t>(sizeof(T)));
        }
    }

    static void compute(const Part& p, char* memory) {
        const Scratch scratch(p, memory);
        Ahead ahead(scratch.lines, kDepth);
        const int width = round_up(p.inputs, n);
        for (std::int64_t begin = 0; begin < p.rows; begin += kRows) {
            const int rows = static_cast<int>(std::min<std::int64_t>(kRows, p.rows - begin));
            const int depth = kPairs ? (rows + 1) / 2 : rows;
            const F* left;
            std::ptrdiff_t left_row;
            if constexpr (kPairs) {
                pack_rows<T>(p.dy, begin, rows, p.outputs, p.outputs, scratch.left);
                left = scratch.left, left_row = p.outputs;
            } else {
                left = row_of<T>(p.dy, begin), left_row = p.dy.row;
            }
            if (packs(p)) pack_rows<T>(p.x, begin, rows, p.inputs, width, scratch.right);
            for (int k = 0; k < depth; ++k) {
                if constexpr (!kPairs) {
                    scratch.rows[k] = row_of<T>(p.x, begin + k);
                    if (!packs(p)) continue;
                }
                scratch.rows[k] = scratch.right + static_cast<std::ptrdiff_t>(k) * width;
            }
            ahead.begin();
            fetch_later(p, begin + kRows, scratch.offsets, ahead);
            ahead.end();
            multiply<F>(p.outputs, depth, width / n, left, 1, left_row, scratch.rows, ahead,
                        Accumulate{p.product, p.product_row, begin == 0});
            if (p.sums) add_sums(p, begin, rows);
        }
    }
};

}  // namespace pyemo::PYEMO_ISA::dense
