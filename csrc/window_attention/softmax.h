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
};

// 2^x of numbers that are not above 0, minus infinity and NaN among them. What would be subnormal is 0: on such numbers
// every later instruction is slow, and the shift's penalty would make many.
template <int kDegree, class T>
inline Vec<T> exp2_not_positive(Vec<T> x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == sizeof(float)) {
        const Vec<float> whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(1 - Ieee<float>::kBias), _CMP_NLT_UQ);
        return _mm512_maskz_scalef_ps(normal, exp2_fraction<kDegree>(x - whole), whole);
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
    void store_wide(int row, Vec<T> value) { store(wide + row * kLanes<T>, value); }

    template <class Join>
    Vec<T> reduce(int first_row, const Join& join) const {
        Vec<T> rows[kLanes<T>];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes<T>; ++i) rows[i] = load(wide + (first_row + i) * kLanes<T>);
        return reduce_each<T>(rows, join);
    }
};

// The factors of a logit beside those of the matrix product.
template <class T>
struct Scaling {
    T all;
    const T *rows, *columns;  // cosine attention's: the inverse lengths of queries and keys; else null

    T of(int row) const { return rows ? all * rows[row] : all; }
    Vec<T> at(int row, int column, Vec<T> of_row) const {
        (void)row;
        return columns ? of_row * load(columns + column) : of_row;
    }
};

// exp(logits - their row's largest) into `powers`, which may be the same memory, and 1 / their row's sum into
// `rows.inverse`. The logits are scaled products plus bias plus mask (or null), the last two in units of log2(e).
// Columns of `powers` from the tokens up to the vectors' end become 0, because such a bias is minus infinity.
template <int kDegree, class T, class Power>
inline void softmax(const Columns<T>& columns, T* logits, const Scaling<T>& scaling, const T* bias, const T* mask,
                    RowValues<T>& rows, Power* powers, int power_stride) {
    const int n = columns.tokens, stride = columns.stride, vectors = columns.vectors, last = n - 1;
    const T log2e = T(pyemo::window::kLog2E);
    for (int i = 0; i < n; ++i) {
        const T factor = scaling.of(i) * log2e;
        const Vec<T> wide_factor = broadcast(factor);
        Vec<T> top = broadcast(-Ieee<T>::kInfinity);
        for (int v = 0; v < vectors; ++v) {
            const int at = i * stride + v * kLanes<T>;
            Vec<T> x = load(logits + at) * scaling.at(i, v * kLanes<T>, wide_factor) + load(bias + at);
            if (mask) x += load(mask + at);
            store(logits + at, x);
            top = larger<T>(top, x);
        }
        rows.store_wide(i, top);
        if (columns.single) {
            const int at = i * stride + last;
            const T column = scaling.columns ? scaling.columns[last] : T(1);
            rows.last[i] = logits[at] * (factor * column) + bias[at] + (mask ? mask[at] : T(0));
        }
    }
    for (int i = 0; i < n; i += kLanes<T>) {
        Vec<T> top = rows.reduce(i, [](Vec<T> a, Vec<T> b) { return larger<T>(a, b); });
        if (columns.single) top = larger<T>(top, load(rows.last + i));
        store(rows.top + i, top);
    }
    for (int i = 0; i < n; ++i) {
        const Vec<T> top = broadcast(rows.top[i]);
        Vec<T> sum = {};
        for (int v = 0; v < vectors; ++v) {
            const Vec<T> power = exp2_not_positive<kDegree, T>(load(logits + i * stride + v * kLanes<T>) - top);
            store(powers + i * power_stride + v * kLanes<T>, power);
            sum += power;
        }
        rows.store_wide(i, sum);
    }
    for (int i = 0; i < n; i += kLanes<T>) {
        Vec<T> sum = rows.reduce(i, [](Vec<T> a, Vec<T> b) { return a + b; });
        if (columns.single) {
            const Vec<T> power = exp2_not_positive<kDegree, T>(load(rows.last + i) - load(rows.top + i));
            sum += power;
            store(rows.last + i, power);
        }
        store(rows.inverse + i, T(1) / sum);
    }
}

// Each row's mean of the gradients of its probabilities, weighted with these, into rows.top. `powers` and rows.inverse
// are the softmax's; rows.last is lost.
template <class T>
inline void mean_gradients(const Columns<T>& columns, const T* powers, const T* gradients, RowValues<T>& rows) {
    for (int i = 0; i < columns.tokens; ++i) {
        Vec<T> sum = {};
        for (int v = 0; v < columns.vectors; ++v) {
            const int at = i * columns.stride + v * kLanes<T>;
            sum += load(powers + at) * load(gradients + at);
        }
        rows.store_wide(i, sum);
        if (columns.single) {
            const int at = i * columns.stride + columns.tokens - 1;
            rows.last[i] = powers[at] * gradients[at];
        }
    }
    for (int i = 0; i < columns.tokens; i += kLanes<T>) {
        Vec<T> sum = rows.reduce(i, [](Vec<T> a, Vec<T> b) { return a + b; });
        if (columns.single) sum += load(rows.last + i);
        store(rows.top + i, sum * load(rows.inverse + i));
    }
}

}  // namespace pyemo::PYEMO_ISA::window
