// The softmax of a window's logits, forward and backward. For kernel sources only.
#pragma once

#include "common/simd_math.h"
#include "common/simd_matrix.h"
#include "window_attention/problem.h"

namespace pyemo::PYEMO_ISA::window {

using namespace simd;

// How the columns of a window's (tokens x tokens) matrices are covered. Where whole vectors leave just one over, as
// with the 49 tokens of 7x7 windows, a vector more would be wasted on each row: such a column is worked on as a vector
// of its own, over the rows.
template <class T>
struct Columns {
    int tokens, vectors, stride;  // stride: elements from row to row, a multiple of the lanes
    bool single;                  // the last column stands outside the vectors

    explicit Columns(int tokens)
        : tokens(tokens),
          vectors(tokens % kLanes<T> == 1 && tokens > 1 ? tokens / kLanes<T> : round_up(tokens, kLanes<T>) / kLanes<T>),
          stride(round_up(tokens, kLanes<T>)),
          single(tokens > vectors * kLanes<T>) {}

    // The last column of a matrix in rows of the stride, where it stands outside the vectors.
    void put_last(const T* from, T* matrix) const {
        for (int i = 0; single && i < tokens; ++i)
            matrix[static_cast<std::ptrdiff_t>(i) * stride + tokens - 1] = from[i];
    }
};

// 2^x of numbers that are not above kMostUnshifted, minus infinity and NaN among them. What would be subnormal is 0: on
// such numbers every later instruction is slow, and the shift's penalty would make many.
template <int kDegree, class T>
inline Vec<T> exp2_or_zero(Vec<T> x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == sizeof(float)) {
        const Vec<float> rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
        const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(1 - Ieee<float>::kBias), _CMP_NLT_UQ);
        return _mm512_maskz_scalef_ps(normal, exp2_rest<kDegree>(rest), x);
    }
#endif
    const Vec<T> power = exp2<T>(x);
    return x < T(1 - Ieee<T>::kBias) ? Vec<T>{} : power;
}

template <class T>
inline Vec<T> larger(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == sizeof(float)) return _mm512_max_ps(a, b);
#endif
    return a > b ? a : b;
}

// The larger of `most`, which is not negative, and |x|; `most` where x is NaN.
template <class T>
inline Vec<T> larger_magnitude(Vec<T> most, Vec<T> x) {
#if defined(__AVX512DQ__)
    if constexpr (sizeof(T) == sizeof(float)) return _mm512_range_ps(most, x, 0b1011);
#endif
    const Vec<T> magnitude = x < T(0) ? -x : x;
    return magnitude > most ? magnitude : most;
}

// Numbers of each row of a window, and what it takes to find them. Rows count up to a multiple of the lanes.
template <class T>
struct RowValues {
    T *top, *inverse, *last, *wide;

    static std::size_t count(int tokens) {
        return static_cast<std::size_t>(round_up(tokens, kLanes<T>)) * (3 + kLanes<T>);
    }
    RowValues(int tokens, T* data) {
        const int rows = round_up(tokens, kLanes<T>);
        top = data, inverse = top + rows, last = inverse + rows, wide = last + rows;
    }
    // Sets what stands for no token to zero.
    void clear_rest(int tokens) {
        for (int i = tokens; i < round_up(tokens, kLanes<T>); ++i) {
            top[i] = inverse[i] = last[i] = T(0);
            store_wide(i, Vec<T>{});
        }
    }
    void store_wide(int row, Vec<T> value) const { store(wide + row * kLanes<T>, value); }
    Vec<T> wide_of(int row) const { return load(wide + row * kLanes<T>); }

    template <class Join>
    Vec<T> reduce(int first_row, const Join& join) const {
        Vec<T> rows[kLanes<T>];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes<T>; ++i) rows[i] = load(wide + (first_row + i) * kLanes<T>);
        return reduce_each<T>(rows, join);
    }
};

// The powers of a softmax in rows of `stride`, and the last column, where it stands outside the vectors.
template <class T>
struct Powers {
    const T* values;
    std::ptrdiff_t stride;
    const T* last;
};

// Of a softmax, what the forward pass can keep for the backward pass: the powers, the last column where it stands
// outside the vectors, and 1 / each row's sum. Instruction sets with other vectors need another number of bytes, unless
// they can read this.
template <class T>
struct Kept {
    static int stride(const Columns<T>& columns) { return columns.vectors * kLanes<T>; }
    static std::size_t bytes(int tokens) {
        const Columns<T> columns(tokens);
        return (static_cast<std::size_t>(tokens) * stride(columns) + 2 * rows(tokens)) * sizeof(T);
    }
    static int rows(int tokens) { return round_up(tokens, 16); }
    // What stands behind the powers.
    static T* end(const Columns<T>& columns, T* kept) {
        return kept + static_cast<std::ptrdiff_t>(columns.tokens) * stride(columns);
    }
    static void complete(const Columns<T>& columns, const RowValues<T>& rows, T* kept) {
        T* const last = end(columns, kept);
        for (int i = 0; i < columns.stride; i += kLanes<T>) {
            store(last + i, load(rows.last + i));
            store(last + Kept::rows(columns.tokens) + i, load(rows.inverse + i));
        }
    }
    // The sums go into rows.inverse.
    static Powers<T> read(const Columns<T>& columns, const T* kept, const RowValues<T>& rows) {
        const T* const last = end(columns, const_cast<T*>(kept));
        for (int i = 0; i < columns.stride; i += kLanes<T>) {
            store(rows.inverse + i, load(last + Kept::rows(columns.tokens) + i));
        }
        return {kept, stride(columns), last};
    }
};

// The factors of a logit beside those of the matrix product.
template <class T>
struct Scaling {
    T all;
    const T *rows, *columns;  // cosine attention's: the inverse lengths of queries and keys; else null

    T of(int row) const { return rows ? all * rows[row] : all; }
    Vec<T> at(int column, Vec<T> of_row) const { return columns ? of_row * load(columns + column) : of_row; }
};

// The logits of a window: scaled products plus bias plus mask (or null), the last two in units of log2(e), in rows of
// the columns' stride. Behind its rows, each has its last column once more, side by side.
template <class T>
struct Logits {
    const Columns<T>& columns;
    T* values;
    Scaling<T> scaling;
    const T *bias, *mask;
    RowValues<T>& rows;

    // Of products in registers: see simd::multiply. The largest are left in rows.wide.
    template <int kRows, int kVectors>
    PYEMO_INLINE void operator()(int row, std::ptrdiff_t column, const Vec<T> (&products)[kRows][kVectors]) const {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const Vec<T> factor = broadcast(scaling.of(row + r) * T(pyemo::window::kLog2E));
            const std::ptrdiff_t at = (row + r) * static_cast<std::ptrdiff_t>(columns.stride) + column;
            Vec<T> x[kVectors];
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) {
                const std::ptrdiff_t place = column + v * kLanes<T>;
                const Vec<T> all = scaling.columns ? factor * load(scaling.columns + place) : factor;
                x[v] = products[r][v] * all + load(bias + at + v * kLanes<T>);
                if (mask) x[v] += load(mask + at + v * kLanes<T>);
                store(values + at + v * kLanes<T>, x[v]);
            }
            Vec<T> top = x[0];
#pragma GCC unroll 16
            for (int v = 1; v < kVectors; ++v) top = larger<T>(top, x[v]);
            if (column) top = larger<T>(top, rows.wide_of(row + r));
            rows.store_wide(row + r, top);
        }
    }

    // Where it stands outside the vectors: of the products of all rows with the last column.
    void last_column(const T* products) const {
        if (!columns.single) return;
        const int last = columns.tokens - 1;
        const std::ptrdiff_t behind = static_cast<std::ptrdiff_t>(columns.tokens) * columns.stride;
        const Vec<T> factor =
            broadcast(scaling.all * T(pyemo::window::kLog2E) * (scaling.columns ? scaling.columns[last] : T(1)));
        for (int i = 0; i < columns.tokens; i += kLanes<T>) {
            const Vec<T> all = scaling.rows ? factor * load(scaling.rows + i) : factor;
            Vec<T> x = load(products + i) * all + load(bias + behind + i);
            if (mask) x += load(mask + behind + i);
            store(rows.last + i, x);
        }
    }
};

// exp(logits - their row's largest) into `powers`, which may be the logits' memory, and 1 / their row's sum into
// rows.inverse; the last column's into rows.last, where it stands outside the vectors. Columns of `powers` from the
// tokens up to the vectors' end become 0, because such a bias is minus infinity. `kept`, unless null, gets the powers
// too.
template <int kDegree, class T, class Power>
inline void softmax(const Logits<T>& logits, Power* powers, int power_stride, T* kept = nullptr) {
    const Columns<T>& columns = logits.columns;
    const RowValues<T>& rows = logits.rows;
    const int n = columns.tokens;
    for (int i = 0; i < n; i += kLanes<T>) {
        Vec<T> top = rows.reduce(i, [](Vec<T> a, Vec<T> b) { return larger<T>(a, b); });
        if (columns.single) top = larger<T>(top, load(rows.last + i));
        store(rows.top + i, top);
    }
    for (int i = 0; i < n; ++i) {
        const Vec<T> top = broadcast(rows.top[i]);
        const T* from = logits.values + static_cast<std::ptrdiff_t>(i) * columns.stride;
        Power* to = powers + static_cast<std::ptrdiff_t>(i) * power_stride;
        Vec<T> sum = {};
        for (int v = 0; v < columns.vectors; ++v) {
            const Vec<T> power = exp2_or_zero<kDegree, T>(load(from + v * kLanes<T>) - top);
            store(to + v * kLanes<T>, power);
            if (kept) store(kept + i * static_cast<std::ptrdiff_t>(Kept<T>::stride(columns)) + v * kLanes<T>, power);
            sum += power;
        }
        rows.store_wide(i, sum);
    }
    for (int i = 0; i < n; i += kLanes<T>) {
        Vec<T> sum = rows.reduce(i, [](Vec<T> a, Vec<T> b) { return a + b; });
        if (columns.single) {
            const Vec<T> power = exp2_or_zero<kDegree, T>(load(rows.last + i) - load(rows.top + i));
            sum += power;
            store(rows.last + i, power);
        }
        store(rows.inverse + i, T(1) / sum);
    }
}

// The same without the logits' detour through memory, where none is so large that the rows' largest ones are needed:
// then powers neither overflow nor vanish beside each other, nor can the shift's penalty be made up for. Where one is
// too large shows in the end only, and all is to be done again; the same task then no longer tries with that head.
template <int kDegree, class T, class Power>
struct UnshiftedSoftmax {
    // In units of log2(e). Sums of products of such powers overflow when values are above 1e24.
    static constexpr int kMost = 40;

    const Columns<T>& columns;
    T scale;
    const T *bias, *mask;  // as those of Logits; the mask is that of the shift
    const RowValues<T>& rows;
    Power* powers;
    int stride;
    T* kept;  // as softmax has it, unless Power is T

    // Whether it is worth trying. Cosine attention's logits are large; a given mask may leave nothing of a row.
    static bool serves(const pyemo::window::Problem& problem, const Columns<T>& columns) {
        return !problem.logit_scale && !problem.mask &&
               problem.tokens == columns.vectors * kLanes<T> + (columns.single ? 1 : 0);
    }

    void begin() const { store(extreme(), Vec<T>{}); }

    // Of products in registers: see simd::multiply. The sums are left in rows.wide.
    template <int kRows, int kVectors>
    PYEMO_INLINE void operator()(int row, std::ptrdiff_t column, const Vec<T> (&products)[kRows][kVectors]) const {
        const Vec<T> factor = broadcast(scale * T(pyemo::window::kLog2E));
        Vec<T> most = load(extreme());
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const std::ptrdiff_t at = (row + r) * static_cast<std::ptrdiff_t>(columns.stride) + column,
                                 to = (row + r) * static_cast<std::ptrdiff_t>(stride) + column;
            Vec<T> sum = column ? rows.wide_of(row + r) : Vec<T>{};
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) {
                Vec<T> x = products[r][v] * factor + load(bias + at + v * kLanes<T>);
                most = larger_magnitude<T>(most, x);
                if (mask) x += load(mask + at + v * kLanes<T>);
                const Vec<T> power = exp2_or_zero<kDegree, T>(x);
                store(powers + to + v * kLanes<T>, power);
                if constexpr (!std::is_same_v<Power, T>) {
                    const std::ptrdiff_t place = (row + r) * static_cast<std::ptrdiff_t>(Kept<T>::stride(columns));
                    if (kept) store(kept + place + column + v * kLanes<T>, power);
                }
                sum += power;
            }
            rows.store_wide(row + r, sum);
        }
        store(extreme(), most);
    }

    // False if a logit was too large. `last_products`: of all rows with a last column outside the vectors.
    bool finish(const T* last_products) const {
        const Vec<T> factor = broadcast(scale * T(pyemo::window::kLog2E));
        const std::ptrdiff_t behind = static_cast<std::ptrdiff_t>(columns.tokens) * columns.stride;
        Vec<T> most = load(extreme());
        for (int i = 0; i < columns.tokens; i += kLanes<T>) {
            Vec<T> sum = rows.reduce(i, [](Vec<T> a, Vec<T> b) { return a + b; });
            if (columns.single) {
                Vec<T> x = load(last_products + i) * factor + load(bias + behind + i);
                most = larger_magnitude<T>(most, x);
                if (mask) x += load(mask + behind + i);
                const Vec<T> power = exp2_or_zero<kDegree, T>(x);
                sum += power;
                store(rows.last + i, power);
            }
            store(rows.inverse + i, T(1) / sum);
        }
        for (int k = 0; k < kLanes<T>; ++k) {
            if (most[k] > kMost) return false;
        }
        return true;
    }

  private:
    T* extreme() const { return rows.top; }  // of each lane
};

// The gradients of the probabilities, stored in rows of `stride`. Of products in registers, see simd::multiply. Their
// products with the powers are added up in rows.wide.
template <class T>
struct ProbabilityGradients {
    T* values;
    std::ptrdiff_t stride;
    const Powers<T>& powers;
    const RowValues<T>& rows;

    template <int kRows, int kVectors>
    PYEMO_INLINE void operator()(int row, std::ptrdiff_t column, const Vec<T> (&products)[kRows][kVectors]) const {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const std::ptrdiff_t at = (row + r) * stride + column, power = (row + r) * powers.stride + column;
            Vec<T> sum = column ? rows.wide_of(row + r) : Vec<T>{};
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) {
                store(values + at + v * kLanes<T>, products[r][v]);
                sum += products[r][v] * load(powers.values + power + v * kLanes<T>);
            }
            rows.store_wide(row + r, sum);
        }
    }
};

// Each row's mean of the gradients of its probabilities, weighted with these, into rows.top, from the sums in rows.wide
// and, where it stands outside the vectors, the last column.
template <class T>
inline void mean_gradients(const Columns<T>& columns, const RowValues<T>& rows, const Powers<T>& powers,
                           const T* last_gradients) {
    for (int i = 0; i < columns.tokens; i += kLanes<T>) {
        Vec<T> sum = rows.reduce(i, [](Vec<T> a, Vec<T> b) { return a + b; });
        if (columns.single) sum += load(powers.last + i) * load(last_gradients + i);
        store(rows.top + i, sum * load(rows.inverse + i));
    }
}

// Of a last column outside the vectors: from the powers, and the gradients of the probabilities, to the probabilities
// and the gradients of the products, in the memory of what they come from. `grad_bias`, unless null, gets those of the
// logits added, in rows of the columns' stride.
template <class T>
inline void last_column_backward(const Columns<T>& columns, const RowValues<T>& rows, const Powers<T>& powers,
                                 const Scaling<T>& scales, T* probabilities, T* gradients, T* grad_bias) {
    const int last = columns.tokens - 1;
    const Vec<T> factor = broadcast(scales.all * (scales.columns ? scales.columns[last] : T(1)));
    T* const of_logits = rows.wide;
    for (int i = 0; i < columns.tokens; i += kLanes<T>) {
        const Vec<T> probability = load(powers.last + i) * load(rows.inverse + i);
        const Vec<T> gradient = probability * (load(gradients + i) - load(rows.top + i));
        store(probabilities + i, probability);
        store(of_logits + i, gradient);
        store(gradients + i, gradient * (scales.rows ? factor * load(scales.rows + i) : factor));
    }
    T* bias = grad_bias ? grad_bias + last : nullptr;
    for (int i = 0; bias && i < columns.tokens; ++i, bias += columns.stride) *bias += of_logits[i];
}

}  // namespace pyemo::PYEMO_ISA::window
