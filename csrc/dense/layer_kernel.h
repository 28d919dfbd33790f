// Rows of a dense layer: products with packed weights, with what comes after them. For kernel sources only.
#pragma once

#include <algorithm>

#include "dense/gelu_kernel.h"
#include "dense/packing.h"

namespace pyemo::PYEMO_ISA::dense {

using pyemo::dense::Rows, pyemo::dense::Then, pyemo::dense::Weights;

template <class T>
struct LayerKernel {
    using F = Factor<T>;
    static constexpr int n = kLanes<float>, kValues = sizeof(F) / sizeof(T);
    // What is read over and over, from the second cache, is the weights: the more rows for them, the better, if the
    // rows stay in the first cache.
    static constexpr int kVectors = sizeof(T) == sizeof(float) && kRegisters == 32 ? 3 : 2;
    static constexpr int kPanel = kVectors * n, kStrip = most_rows(kVectors);
    static constexpr int kLine = 64;
    // Steps whose products are summed in registers. Sums of sums are closer to the truth than one long sum, which
    // matters where outputs are not rounded to fewer digits.
    static constexpr int kDepth = sizeof(T) == sizeof(float) ? 192 : 1 << 20;

    static int depth_of(int inputs) { return (inputs + kValues - 1) / kValues; }
    static std::size_t panel_bytes(int inputs) { return sizeof(F) * kPanel * depth_of(inputs); }

    static void pack(const Weights& w, int panel, char* to) {
        const int first = panel * kPanel, count = std::min(kPanel, w.outputs - first);
        const char* from = w.data + first * w.output * static_cast<std::ptrdiff_t>(sizeof(T));
        F* packed = reinterpret_cast<F*>(to);
        if (w.input == 1 || w.inputs == 1) {
            pack_columns<T>({from, w.output}, 0, count, w.inputs, kPanel, packed);
        } else {
            pack_rows<T>({from, w.input}, 0, w.inputs, count, kPanel, packed);
        }
    }

    // A strip's rows are copied where they cannot be read as factors, or lie so that the first cache holds few of them
    // at a time: it has room for eight lines at distances of 4096 bytes.
    static bool copies(const Rows& p) {
        const std::ptrdiff_t bytes = p.x.row * static_cast<std::ptrdiff_t>(sizeof(T));
        return p.inputs % kValues != 0 || bytes % sizeof(F) != 0 || bytes % 4096 == 0 ||
               reinterpret_cast<std::uintptr_t>(p.x.data) % sizeof(F) != 0;
    }
    // Not a multiple of large powers of two, so that the rows' lines spread over the cache.
    static int copied_row(int inputs) { return round_up(depth_of(inputs), n) + n; }
    static std::size_t scratch_bytes(int inputs) { return sizeof(F) * kStrip * copied_row(inputs); }

    static const F* copy(const Rows& p, std::int64_t row, int rows, F* to) {
        const int stride = copied_row(p.inputs);
        for (int r = 0; r < rows; ++r) {
            F* into = to + static_cast<std::ptrdiff_t>(r) * stride;
            into[depth_of(p.inputs) - 1] = 0;
            std::memcpy(static_cast<void*>(into), row_of<T>(p.x, row + r), p.inputs * sizeof(T));
        }
        return to;
    }

    // Of a block of outputs, some steps of its products.
    struct Block {
        const float* bias;  // added with the first steps
        float* sums;        // (kStrip x kPanel) of the steps so far; null if these are all and become outputs at once
        bool first;
        char* y;               // of its first row and column
        std::ptrdiff_t y_row;  // bytes
        const char* fetched;   // what is read next, a line each step
        std::ptrdiff_t fetched_step;
    };

    template <int kWidth, int kRows>
    static void multiply_block(const F* a, std::ptrdiff_t a_row, const F* b, int depth, const Block& block) {
        constexpr int kStepsAhead = 16;  // of the panel, whose lines come from the second cache
        Vec<float> sum[kRows][kWidth] = {};
        const char *written = block.y, *fetched = block.fetched;
        for (int k = 0; k < depth; ++k, ++a, b += kPanel) {
            if (k < kRows) {  // the outputs' lines, which are waited for otherwise when they are stored
                for (int i = 0; i < kWidth * n * static_cast<int>(sizeof(T)); i += kLine) {
                    __builtin_prefetch(written + i, 1, 3);
                }
                written += block.y_row;
            } else {
                __builtin_prefetch(fetched, 0, 3);
                fetched += block.fetched_step;
            }
#pragma GCC unroll 16
            for (int i = 0; i < kWidth * n * static_cast<int>(sizeof(F)); i += kLine) {
                __builtin_prefetch(reinterpret_cast<const char*>(b + kStepsAhead * kPanel) + i, 0, 3);
            }
            Vec<F> vectors[kWidth];
#pragma GCC unroll 16
            for (int v = 0; v < kWidth; ++v) vectors[v] = load_bits<Vec<F>>(b + v * n);
#pragma GCC unroll 16
            for (int r = 0; r < kRows; ++r) {
                const F factor = a[r * a_row];
#pragma GCC unroll 16
                for (int v = 0; v < kWidth; ++v) multiply_add(sum[r][v], factor, vectors[v]);
            }
        }
        const float* added = block.first ? block.bias : block.sums;
        const int added_row = block.first ? 0 : kPanel;
        char* to = block.y;
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r, added += added_row, to += block.y_row) {
#pragma GCC unroll 16
            for (int v = 0; v < kWidth; ++v) {
                const Vec<float> total = sum[r][v] + load(added + v * n);
                if (block.sums) {
                    store(block.sums + (r * kVectors + v) * n, total);
                } else {
                    store(reinterpret_cast<T*>(to) + v * n, total);
                }
            }
        }
    }

    using MultiplyBlock = void (*)(const F*, std::ptrdiff_t, const F*, int, const Block&);

    template <int kWidth, int... rows>
    static MultiplyBlock block_of(int wanted, std::integer_sequence<int, rows...>) {
        static constexpr MultiplyBlock kBlocks[] = {multiply_block<kWidth, rows + 1>...};
        return kBlocks[wanted - 1];
    }
    static MultiplyBlock block_of(int rows, int columns) {
        constexpr auto kHeights = std::make_integer_sequence<int, kStrip>();
        if (columns <= n) return block_of<1>(rows, kHeights);
        return kVectors == 2 || columns <= 2 * n ? block_of<2>(rows, kHeights) : block_of<kVectors>(rows, kHeights);
    }

    struct Nothing {
        Vec<float> operator()(Vec<float> x) const { return x; }
    };

    // A row of sums becomes outputs: whole vectors at `y`, and at `hidden` where what the GELU is given is wanted.
    template <class Function>
    static void finish_row(const Function& function, const float* sums, int columns, T* y, T* hidden) {
        for (int i = 0; i < columns; i += n) {
            const Vec<float> x = load(sums + i);
            if constexpr (std::is_same_v<Function, GeluSlope<T>>) {
                store(y + i, x * function(load(hidden + i)));
            } else {
                if (hidden) store(hidden + i, x);
                store(y + i, function(x));
            }
        }
    }

    template <class Function>
    static void finish_rows(const float* sums, int rows, int columns, T* y, std::ptrdiff_t y_row, T* hidden,
                            std::ptrdiff_t hidden_row) {
        const Function function;
        const bool whole = columns == kPanel;
        for (int r = 0; r < rows; ++r, sums += kPanel, y += y_row, hidden += hidden ? hidden_row : 0) {
            if (whole) {
                finish_row(function, sums, kPanel, y, hidden);
                continue;
            }
            constexpr bool kReads = std::is_same_v<Function, GeluSlope<T>>;
            T own[kPanel] = {}, own_hidden[kPanel] = {};
            if (kReads) std::memcpy(own_hidden, hidden, columns * sizeof(T));
            finish_row(function, sums, round_up(columns, n), own, own_hidden);
            std::memcpy(y, own, columns * sizeof(T));
            if (!kReads && hidden) std::memcpy(hidden, own_hidden, columns * sizeof(T));
        }
    }

    static void finish(const Rows& p, std::int64_t row, int column, int rows, const float* sums) {
        T* y = const_cast<T*>(row_of<T>(p.y, row)) + column;
        T* hidden = p.hidden.data ? const_cast<T*>(row_of<T>(p.hidden, row)) + column : nullptr;
        const int columns = std::min(kPanel, p.outputs - column);
        const auto rows_of = p.then == Then::gelu            ? finish_rows<Gelu<T>>
                             : p.then == Then::gelu_tanh     ? finish_rows<GeluByTanh<T>>
                             : p.then == Then::gelu_backward ? finish_rows<GeluSlope<T>>
                                                             : finish_rows<Nothing>;
        rows_of(sums, rows, columns, y, p.y.row, hidden, p.hidden.row);
    }

    static void compute(const Rows& p, char* scratch) {
        alignas(64) float sums[kStrip * kPanel];
        const int depth = depth_of(p.inputs), parts = (depth + kDepth - 1) / kDepth;
        const std::ptrdiff_t strip_bytes = kStrip * p.x.row * static_cast<std::ptrdiff_t>(sizeof(T)),
                             x_bytes = p.inputs * static_cast<std::ptrdiff_t>(sizeof(T));
        const bool copied = copies(p), dense = p.x.row == p.inputs;
        // Strips of about one height: a low one at the end would wait for its own sums.
        std::int64_t strips = (p.rows + kStrip - 1) / kStrip;
        for (std::int64_t row = 0; row < p.rows; --strips) {
            const int rows = static_cast<int>((p.rows - row + strips - 1) / strips);
            const F* a = copied ? copy(p, row, rows, reinterpret_cast<F*>(scratch))
                                : reinterpret_cast<const F*>(row_of<T>(p.x, row));
            const std::ptrdiff_t a_row = copied ? copied_row(p.inputs) : p.x.row / kValues;
            // The next strip is fetched while this one is multiplied, as far as the steps of a panel reach.
            const char* next = reinterpret_cast<const char*>(row_of<T>(p.x, row + rows));
            std::ptrdiff_t left = dense && row + rows < p.rows
                                      ? std::min<std::ptrdiff_t>(strip_bytes, (p.rows - row - rows) * x_bytes)
                                      : 0;
            const char* weights = p.weights;
            for (int column = 0; column < p.outputs; column += kPanel, weights += panel_bytes(p.inputs)) {
                const auto multiply = block_of(rows, p.outputs - column);
                Block block;
                block.bias = p.bias + column;
                block.y =
                    const_cast<char*>(p.y.data) + (row * p.y.row + column) * static_cast<std::ptrdiff_t>(sizeof(T));
                block.y_row = p.y.row * static_cast<std::ptrdiff_t>(sizeof(T));
                const bool finishes = p.then != Then::nothing || column + kPanel > p.outputs || parts > 1;
                block.sums = finishes ? sums : nullptr;
                for (int part = 0; part < parts; ++part) {
                    const int step = part * depth / parts, steps = (part + 1) * depth / parts - step;
                    block.first = part == 0;
                    block.fetched = left > 0 ? next : p.weights;
                    block.fetched_step = left > 0 ? kLine : 0;
                    multiply(a + step, a_row, reinterpret_cast<const F*>(weights) + step * kPanel, steps, block);
                    const std::ptrdiff_t fetched = std::max(0, steps - rows) * static_cast<std::ptrdiff_t>(kLine);
                    next += fetched, left -= fetched;
                }
                if (finishes) finish(p, row, column, rows, sums);
            }
            row += rows;
        }
    }
};

}  // namespace pyemo::PYEMO_ISA::dense
