// Window attention of bfloat16 by products of pairs of values, with sums in float. For kernel sources only.
#pragma once

#include "window_attention/output.h"
#include "window_attention/pairs.h"
#include "window_attention/rows.h"
#include "window_attention/softmax.h"
#include "window_attention/tokens.h"

namespace pyemo::PYEMO_ISA::window {

// One head of one window, with what it takes to work on it.
template <class Products>
struct PairUnit {
    static constexpr int kDegree = 3;
    using Element = bfloat16;
    using C = float;
    using Session = typename Products::Session;

    const Problem& problem;
    const PairShape shape;
    const Columns<float> columns;
    const int tokens, rows, depth, width;  // of the shape
    PairedRows query, key, value, grad;
    Mask<float> mask;
    Route route;
    Products products;
    bfloat16* left;                                // (rows x width)
    Pair* right;                                   // (width / 2 x rows) or (depth / 2 x width)
    float *scores, *grad_scores, *product;         // (rows x rows) twice, (rows x width)
    bfloat16* weights;                             // (rows x depth)
    Pair *paired_weights, *paired_grads;           // (depth / 2 x rows)
    float* last_powers;                            // (rows)
    float *cosines, *query_inverse, *key_inverse;  // cosine attention's products of queries and keys (rows x rows)
    RowValues<float> numbers;
    bool* steep;  // of each head, whether one of its logits was too large for a softmax without a shift

    PairUnit(const Problem& problem, bool backward, char*& scratch)
        : problem(problem),
          shape(problem.tokens, problem.head_dim),
          columns(problem.tokens),
          tokens(shape.tokens),
          rows(shape.rows),
          depth(shape.depth),
          width(shape.width),
          query(tokens, problem.head_dim, scratch),
          key(tokens, problem.head_dim, scratch),
          value(tokens, problem.head_dim, scratch),
          grad(backward ? tokens : 0, problem.head_dim, scratch),
          mask(problem, columns.stride, scratch),
          route(problem, backward, sizeof(bfloat16), scratch),
          products(shape, backward, scratch),
          left(take<bfloat16>(scratch, size(rows, width))),
          right(take<Pair>(scratch, size(depth, width))),
          scores(take<float>(scratch, size(rows, rows))),
          grad_scores(take<float>(scratch, backward ? size(rows, rows) : 0)),
          product(take<float>(scratch, size(rows, width))),
          weights(take<bfloat16>(scratch, size(rows, depth))),
          paired_weights(take<Pair>(scratch, backward ? size(depth / 2, rows) : 0)),
          paired_grads(take<Pair>(scratch, backward ? size(depth / 2, rows) : 0)),
          last_powers(take<float>(scratch, backward ? rows : 0)),
          cosines(take<float>(scratch, backward && problem.logit_scale ? size(rows, rows) : 0)),
          query_inverse(take<float>(scratch, rows)),
          key_inverse(take<float>(scratch, rows)),
          numbers(tokens, take<float>(scratch, RowValues<float>::count(tokens))),
          steep(take<bool>(scratch, problem.heads)) {}

    // Not of cosine attention, whose backward pass needs the products of queries and keys too.
    static std::size_t kept_bytes(const Problem& problem) {
        return problem.logit_scale ? 0 : Kept<float>::bytes(problem.tokens);
    }

    static std::size_t size(int rows, int columns) { return PairShape::size(rows, columns); }

    void prepare(bool backward) {
        products.prepare(right);
        for (PairedRows* part : {&query, &key, &value}) part->prepare();
        if (backward) {
            grad.prepare();
            clear(paired_weights, size(depth / 2, rows));
            clear(paired_grads, size(depth / 2, rows));
        }
        clear(left, size(rows, width));
        clear(weights, size(rows, depth));
        for (float* inverse : {query_inverse, key_inverse}) clear(inverse, rows);
        numbers.clear_rest(tokens);
        clear(steep, problem.heads);
    }

    // a b^T (tokens x tokens), both (tokens x width), for `done`; where the last column stands outside the vectors, it
    // is left in numbers.last.
    template <class Done>
    void multiply_rows(const PairedRows& a, const PairedRows& b, const Done& done) {
        b.turn(products.turned_rows(), rows, right);
        products.by_width(a, left, right, b.at[tokens - 1], numbers, route.ahead(), done);
    }

    // Reads the tokens; returns how the products of queries and keys are scaled.
    Scaling<float> begin(int head) {
        const int channels = problem.heads * problem.head_dim, channel = head * problem.head_dim;
        query.read(problem, problem.qkv, route.places().qkv, channel);
        key.read(problem, problem.qkv, route.places().qkv, channels + channel);
        value.read(problem, problem.qkv, route.places().qkv, 2 * channels + channel);
        if (!problem.logit_scale) return {static_cast<float>(problem.scale), nullptr, nullptr};
        inverse_lengths(tokens, width, query.at, query_inverse);
        inverse_lengths(tokens, width, key.at, key_inverse);
        return {static_cast<const float*>(problem.logit_scale)[head], query_inverse, key_inverse};
    }

    template <class Power>
    bool weigh_unshifted(int head, const Scaling<float>& scales, const float* bias, const float* window_mask,
                         Power* powers, int stride, float* kept) {
        using Unshifted = UnshiftedSoftmax<kDegree, float, Power>;
        if (steep[head] || !Unshifted::serves(problem, columns)) return false;
        const Unshifted softmax{columns, scales.all, bias, window_mask, numbers, powers, stride, kept};
        softmax.begin();
        multiply_rows(query, key, softmax);
        steep[head] = !softmax.finish(numbers.last);
        return !steep[head];
    }

    void forward(int head, const float* bias, const float* window_mask, float* kept) {
        const Scaling<float> scales = begin(head);
        if (!weigh_unshifted(head, scales, bias, window_mask, weights, depth, kept)) {
            const Logits<float> logits{columns, scores, scales, bias, window_mask, numbers};
            multiply_rows(query, key, logits);
            logits.last_column(numbers.last);
            softmax<kDegree>(logits, weights, depth, kept);
        }
        if (kept) Kept<float>::complete(columns, numbers, kept);
        value.pair(products.paired_rows(), right);
        const int used = columns.single ? tokens - 1 : tokens;
        if (width == problem.head_dim) {
            products.by_tokens(weights, right, used, route.ahead(), output<true>(head));
        } else {
            products.by_tokens(weights, right, used, route.ahead(), Store<float>{product, width});
            hand_over(tokens, width / kLanes<float>, product, width, output<false>(head));
        }
    }

    template <bool kWhole>
    Output<bfloat16, float, bfloat16, kWhole> output(int head) const {
        return {problem, route.places().output, head, columns, numbers, value.at[tokens - 1]};
    }

    // Writes a gradient: a product (tokens x width), handed to what it is given, times `factor`. That of cosine
    // attention's queries or keys loses what points along them.
    template <class Product>
    void give(const Product& multiplied, float factor, int channel, const PairedRows& along, const float* inverse) {
        char* const to = problem.grad_qkv.data + channel * static_cast<std::ptrdiff_t>(sizeof(bfloat16));
        const std::ptrdiff_t* const offsets = route.places().grad_qkv;
        if (width == problem.head_dim && !inverse) {
            multiplied(TokenGradient<bfloat16, float>{to, offsets, factor});
            return;
        }
        multiplied(Store<float>{product, width});
        if (inverse) project_out(tokens, width, along.at, inverse, product);
        for (int i = 0; i < tokens; ++i) {
            write_row<bfloat16, float>(product + i * width, problem.head_dim, factor, to + offsets[i]);
        }
    }

    // From the powers and the gradient of the probabilities in `grad_scores` to the probabilities, in
    // pairs of rows, and the gradient of the products of queries and keys, in pairs of rows and in `weights`.
    // Returns, of cosine attention, the gradient of its logit_scale: not from the rounded gradients, which nearly
    // cancel.
    double softmax_backward(const Scaling<float>& scales, const Powers<float>& powers, float* grad_bias) {
        mean_gradients(columns, numbers, powers, numbers.last);
        Vec<float> cosine_sum = {};
        for (int i = 0; i < tokens; i += 2) {
            const int count = i + 1 < tokens ? 2 : 1;
            for (int v = 0; v < columns.vectors; ++v) {
                const int column = v * kLanes<float>;
                Vec<float> probability[2] = {}, grad_logit[2] = {};
                for (int r = 0; r < count; ++r) {
                    const int at = (i + r) * columns.stride + column;
                    probability[r] = load(powers.values + (i + r) * powers.stride + column) * numbers.inverse[i + r];
                    const Vec<float> g = probability[r] * (load(grad_scores + at) - numbers.top[i + r]);
                    if (grad_bias) store(grad_bias + at, load(grad_bias + at) + g);
                    grad_logit[r] = g * scales.at(column, broadcast(scales.of(i + r)));
                    if (scales.rows) cosine_sum += grad_logit[r] * load(cosines + at);
                    store(weights + (i + r) * depth + column, grad_logit[r]);
                }
                const Bits probabilities = make_pairs(probability[0], probability[1]),
                           grads = make_pairs(grad_logit[0], grad_logit[1]);
                store_bits(paired_weights + i / 2 * rows + column, probabilities);
                store_bits(paired_grads + i / 2 * rows + column, grads);
            }
        }
        return static_cast<double>(sum<float>(cosine_sum)) +
               (columns.single ? last_column_backward(scales, powers, grad_bias) : 0);
    }

    double last_column_backward(const Scaling<float>& scales, const Powers<float>& powers, float* grad_bias) {
        const float *const probabilities = last_powers, *const grads = numbers.last;
        window::last_column_backward(columns, numbers, powers, scales, last_powers, numbers.last, grad_bias);
        const int last = tokens - 1;
        float cosine_sum = 0;
        for (int i = 0; i < tokens; ++i) {
            weights[i * depth + last] = round(grads[i]);
            if (scales.rows) cosine_sum += grads[i] * cosines[i * columns.stride + last];
        }
        for (int i = 0; i < tokens; i += 2) {
            const bool two = i + 1 < tokens;
            paired_weights[i / 2 * rows + last] = make_pair(probabilities[i], two ? probabilities[i + 1] : 0);
            paired_grads[i / 2 * rows + last] = make_pair(grads[i], two ? grads[i + 1] : 0);
        }
        return static_cast<double>(cosine_sum);
    }

    // Leaves the powers in `scores` and last_powers.
    Powers<float> weigh(int head, const Scaling<float>& scales, const float* bias, const float* window_mask) {
        if (!weigh_unshifted(head, scales, bias, window_mask, scores, columns.stride, nullptr)) {
            const Logits<float> logits{columns, scores, scales, bias, window_mask, numbers};
            if (scales.rows) {
                multiply_rows(query, key, Store<float>{cosines, rows});
                columns.put_last(numbers.last, cosines);
                hand_over(tokens, columns.vectors, cosines, rows, logits);
            } else {
                multiply_rows(query, key, logits);
            }
            logits.last_column(numbers.last);
            softmax<kDegree>(logits, scores, columns.stride);
        }
        for (int i = 0; i < rows; i += kLanes<float>) store(last_powers + i, load(numbers.last + i));
        return {scores, columns.stride, last_powers};
    }

    void backward(int head, const float* bias, const float* window_mask, float* grad_bias, double* grad_logit_scale,
                  const float* kept) {
        const int channels = problem.heads * problem.head_dim, channel = head * problem.head_dim;
        const Scaling<float> scales = begin(head);
        const Powers<float> powers =
            kept ? Kept<float>::read(columns, kept, numbers) : weigh(head, scales, bias, window_mask);
        grad.read(problem, problem.output, route.places().output, channel);
        multiply_rows(grad, value, ProbabilityGradients<float>{grad_scores, rows, powers, numbers});
        const double cosine_sum = softmax_backward({1, scales.rows, scales.columns}, powers, grad_bias);
        if (grad_logit_scale) *grad_logit_scale += cosine_sum;

        grad.pair(products.paired_rows(), right);
        give([&](const auto& done) { products.by_tokens_turned(paired_weights, right, route.ahead(), done); }, 1,
             2 * channels + channel, query, nullptr);
        key.pair(products.paired_rows(), right);
        give([&](const auto& done) { products.by_tokens(weights, right, tokens, route.ahead(), done); }, scales.all,
             channel, query, scales.rows);
        query.pair(products.paired_rows(), right);
        give([&](const auto& done) { products.by_tokens_turned(paired_grads, right, route.ahead(), done); }, scales.all,
             channels + channel, key, scales.columns);
    }
};

}  // namespace pyemo::PYEMO_ISA::window
