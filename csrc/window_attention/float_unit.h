// Window attention computed in float or double, whatever type the maps are of. For kernel sources only.
#pragma once

#include <type_traits>

#include "window_attention/output.h"
#include "window_attention/rows.h"
#include "window_attention/softmax.h"
#include "window_attention/tokens.h"

namespace pyemo::PYEMO_ISA::window {

// Copies rows side by side, which products are faster with than with rows far apart, and finds the product of each with
// the row `factor` on the way, unless that is null.
template <class T>
inline void gather_rows(int rows, int width, const T* const* from, T* to, const T* factor, T* dots) {
    if (!factor) {
        for (int i = 0; i < rows; ++i) {
            for (int j = 0; j < width; j += kLanes<T>) store(to + i * width + j, load(from[i] + j));
        }
        return;
    }
    for (int first = 0; first < rows; first += kLanes<T>) {
        Vec<T> sums[kLanes<T>] = {};
#pragma GCC unroll 16
        for (int k = 0; k < kLanes<T>; ++k) {
            const int i = first + k;
            for (int j = 0; i < rows && j < width; j += kLanes<T>) {
                const Vec<T> v = load(from[i] + j);
                store(to + i * width + j, v);
                sums[k] += v * load(factor + j);
            }
        }
        store(dots + first, reduce_each<T>(sums, [](Vec<T> x, Vec<T> y) { return x + y; }));
    }
}

// Rows of tokens in C: where they are in the map if that can be, else copies.
template <class T, class C>
struct TokenRows {
    const C** at;
    C* copies;
    int width;
    bool in_place;

    TokenRows(int tokens, int head_dim, char*& scratch)
        : at(take<const C*>(scratch, tokens)),
          width(round_up(head_dim, kLanes<C>)),
          in_place(std::is_same_v<T, C> && width == head_dim) {
        copies = take<C>(scratch, in_place ? 0 : static_cast<std::size_t>(tokens) * width);
    }

    void read(const Problem& problem, const Map& map, const std::ptrdiff_t* offsets, int channel) {
        const char* from = map.data + channel * static_cast<std::ptrdiff_t>(sizeof(T));
        for (int i = 0; in_place && i < problem.tokens; ++i) at[i] = reinterpret_cast<const C*>(from + offsets[i]);
        for (int i = 0; !in_place && i < problem.tokens; ++i) {
            read_row<T, C>(from + offsets[i], problem.head_dim, copies + i * width);
            at[i] = copies + i * width;
        }
    }
};

// One head of one window, with what it takes to work on it.
template <class T>
struct FloatUnit {
    using Element = T;
    using C = std::conditional_t<std::is_same_v<T, double>, double, float>;
    struct Session {};
    static constexpr int kDegree = std::is_same_v<T, bfloat16> ? 3 : 5;
    // Whether products are used while they are in registers. The rest stores them first: not worth so much more code.
    static constexpr bool kFused = std::is_same_v<T, float>;

    const Problem& problem;
    const Columns<C> columns;
    const int tokens, width, vectors;  // elements and vectors of a token's row
    TokenRows<T, C> query, key, value, grad;
    Mask<C> mask;
    Route route;
    C* turned;  // keys or values, or the gradient of the output (width x columns)
    const C** turned_rows;
    C* left;                  // queries, or the gradient of the output (tokens x width)
    C *scores, *grad_scores;  // (tokens x columns)
    C *query_inverse, *key_inverse, *dots;
    RowValues<C> rows;
    bool* steep;  // of each head, whether one of its logits was too large for a softmax without a shift

    FloatUnit(const Problem& problem, bool backward, char*& scratch)
        : problem(problem),
          columns(problem.tokens),
          tokens(problem.tokens),
          width(round_up(problem.head_dim, kLanes<C>)),
          vectors(width / kLanes<C>),
          query(problem.tokens, problem.head_dim, scratch),
          key(problem.tokens, problem.head_dim, scratch),
          value(problem.tokens, problem.head_dim, scratch),
          grad(backward ? problem.tokens : 0, problem.head_dim, scratch),
          mask(problem, columns.stride, scratch),
          route(problem, backward, sizeof(T), scratch),
          turned(take<C>(scratch, static_cast<std::size_t>(width) * columns.stride)),
          turned_rows(take<const C*>(scratch, width)),
          left(take<C>(scratch, static_cast<std::size_t>(tokens) * width)),
          scores(take<C>(scratch, static_cast<std::size_t>(tokens) * columns.stride)),
          grad_scores(take<C>(scratch, backward ? static_cast<std::size_t>(tokens) * columns.stride : 0)),
          query_inverse(take<C>(scratch, columns.stride)),
          key_inverse(take<C>(scratch, columns.stride)),
          dots(take<C>(scratch, columns.stride)),
          rows(problem.tokens, take<C>(scratch, RowValues<C>::count(problem.tokens))),
          steep(take<bool>(scratch, problem.heads)) {}

    static std::size_t kept_bytes(const Problem& problem) { return Kept<C>::bytes(problem.tokens); }

    void prepare(bool) {
        for (int k = 0; k < width; ++k) turned_rows[k] = turned + static_cast<std::ptrdiff_t>(k) * columns.stride;
        // Rows up to a multiple of the lanes are worked on though they stand for nothing.
        rows.clear_rest(tokens);
        for (C* inverse : {query_inverse, key_inverse}) clear(inverse, columns.stride);
        clear(steep, problem.heads);
    }

    // a b^T (tokens x tokens), both (tokens x width), for `done`, which stores it in `to`; where the last column stands
    // outside the vectors, it is left in `dots`.
    template <class Done>
    void multiply_transposed(const TokenRows<T, C>& a, const TokenRows<T, C>& b, C* to, const Done& done) {
        gather_rows<C>(tokens, width, a.at, left, columns.single ? b.at[tokens - 1] : nullptr, dots);
        transpose<C>(
            columns.single ? tokens - 1 : tokens, width, [&](int i) { return b.at[i]; }, turned, columns.stride);
        const auto product = [&](const auto& done) {
            multiply<C>(tokens, problem.head_dim, columns.vectors, left, width, 1, turned_rows, route.ahead(), done);
        };
        if constexpr (kFused) {
            product(done);
        } else {
            product(Store<C>{to, columns.stride});
            hand_over(tokens, columns.vectors, to, columns.stride, done);
        }
    }

    Scaling<C> scaling(int head) {
        if (!problem.logit_scale) return {C(problem.scale), nullptr, nullptr};
        inverse_lengths(tokens, width, query.at, query_inverse);
        inverse_lengths(tokens, width, key.at, key_inverse);
        return {static_cast<const C*>(problem.logit_scale)[head], query_inverse, key_inverse};
    }

    // Reads the tokens; returns how the products of queries and keys are scaled.
    Scaling<C> begin(int head) {
        const int channels = problem.heads * problem.head_dim, channel = head * problem.head_dim;
        query.read(problem, problem.qkv, route.places().qkv, channel);
        key.read(problem, problem.qkv, route.places().qkv, channels + channel);
        value.read(problem, problem.qkv, route.places().qkv, 2 * channels + channel);
        return scaling(head);
    }

    // Leaves the powers of the softmax in `powers` and rows.last; they are still to be multiplied by rows.inverse.
    Powers<C> weigh(int head, const Scaling<C>& scales, const C* bias, const C* window_mask, C* powers, int stride) {
        using Unshifted = UnshiftedSoftmax<kDegree, C, C>;
        if (!steep[head] && Unshifted::serves(problem, columns)) {
            const Unshifted softmax{columns, scales.all, bias, window_mask, rows, powers, stride, nullptr};
            softmax.begin();
            multiply_transposed(query, key, scores, softmax);
            if (softmax.finish(dots)) return {powers, stride, rows.last};
            steep[head] = true;
        }
        const Logits<C> logits{columns, scores, scales, bias, window_mask, rows};
        multiply_transposed(query, key, scores, logits);
        logits.last_column(dots);
        softmax<kDegree>(logits, powers, stride);
        return {powers, stride, rows.last};
    }

    void forward(int head, const C* bias, const C* window_mask, C* kept) {
        const int depth = columns.single ? tokens - 1 : tokens;
        const Powers<C> powers = weigh(head, begin(head), bias, window_mask, kept ? kept : scores,
                                       kept ? Kept<C>::stride(columns) : columns.stride);
        if (kept) Kept<C>::complete(columns, rows, kept);
        const auto product = [&](const auto& done) {
            multiply<C>(tokens, depth, vectors, powers.values, powers.stride, 1, value.at, route.ahead(), done);
        };
        if constexpr (kFused) {
            if (width == problem.head_dim) {
                product(output<true>(head));
                return;
            }
        }
        product(Store<C>{left, width});
        hand_over(tokens, vectors, left, width, output<false>(head));
    }

    template <bool kWhole>
    Output<T, C, C, kWhole> output(int head) const {
        return {problem, route.places().output, head, columns, rows, value.at[tokens - 1]};
    }

    // Writes the gradient `factor` a b, a of (tokens x tokens). That of cosine attention's queries or keys loses what
    // points along them; the sum of their products with it is returned.
    double give(const C* a, std::ptrdiff_t a_row, std::ptrdiff_t a_column, const TokenRows<T, C>& b, C factor,
                int channel, const TokenRows<T, C>& along, const C* inverse) {
        const auto product = [&](const auto& done) {
            multiply<C>(tokens, tokens, vectors, a, a_row, a_column, b.at, route.ahead(), done);
        };
        char* const to = problem.grad_qkv.data + channel * static_cast<std::ptrdiff_t>(sizeof(T));
        const std::ptrdiff_t* const offsets = route.places().grad_qkv;
        if constexpr (kFused) {
            if (width == problem.head_dim && !inverse) {
                product(TokenGradient<T, C>{to, offsets, factor});
                return 0;
            }
        }
        product(Store<C>{left, width});
        const double sum = inverse ? project_out(tokens, width, along.at, inverse, left) : 0;
        for (int i = 0; i < tokens; ++i) write_row<T, C>(left + i * width, problem.head_dim, factor, to + offsets[i]);
        return sum;
    }

    // From the powers and the gradient of the probabilities to the probabilities, in scores, and the gradient
    // of the products of queries and keys, in grad_scores. `grad_bias` gets the gradient of the logits.
    void softmax_backward(const Scaling<C>& scales, const Powers<C>& powers, C* grad_bias) {
        mean_gradients(columns, rows, powers, dots);
        for (int i = 0; i < tokens; ++i) {
            const Vec<C> inverse = broadcast(rows.inverse[i]), mean = broadcast(rows.top[i]),
                         factor = broadcast(scales.of(i));
            for (int v = 0; v < columns.vectors; ++v) {
                const std::ptrdiff_t column = v * kLanes<C>, at = i * columns.stride + column;
                const Vec<C> probability = load(powers.values + i * powers.stride + column) * inverse;
                const Vec<C> grad = probability * (load(grad_scores + at) - mean);
                store(scores + at, probability);
                store(grad_scores + at, grad * scales.at(static_cast<int>(column), factor));
                if (grad_bias) store(grad_bias + at, load(grad_bias + at) + grad);
            }
        }
        if (!columns.single) return;
        last_column_backward(columns, rows, powers, scales, rows.last, dots, grad_bias);
        columns.put_last(rows.last, scores);
        columns.put_last(dots, grad_scores);
    }

    void backward(int head, const C* bias, const C* window_mask, C* grad_bias, double* grad_logit_scale,
                  const C* kept) {
        const int channels = problem.heads * problem.head_dim, channel = head * problem.head_dim;
        const Scaling<C> scales = begin(head);
        const Powers<C> powers =
            kept ? Kept<C>::read(columns, kept, rows) : weigh(head, scales, bias, window_mask, scores, columns.stride);
        const C factor = scales.all;
        grad.read(problem, problem.output, route.places().output, channel);
        multiply_transposed(grad, value, grad_scores,
                            ProbabilityGradients<C>{grad_scores, columns.stride, powers, rows});
        softmax_backward({C(1), scales.rows, scales.columns}, powers, grad_bias);

        const int stride = columns.stride;
        give(scores, 1, stride, grad, C(1), 2 * channels + channel, query, nullptr);
        const double sum = give(grad_scores, stride, 1, key, factor, channel, query, scales.rows);
        if (scales.rows && grad_logit_scale) *grad_logit_scale += sum;
        give(grad_scores, 1, stride, query, factor, channels + channel, key, scales.columns);
    }
};

}  // namespace pyemo::PYEMO_ISA::window
