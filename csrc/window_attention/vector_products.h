// Products of pairs of bfloat16 on vectors (AVX-512 BF16). For kernel sources only.
#pragma once

#include "window_attention/pairs.h"
#include "window_attention/softmax.h"

namespace pyemo::PYEMO_ISA::window {

struct VectorProducts {
    struct Session {};

    const PairShape& shape;
    const Columns<float> columns;
    const Pair **width_rows, **depth_rows;  // of the right factor, which always lies in the same place

    VectorProducts(const PairShape& shape, bool, char*& scratch)
        : shape(shape),
          columns(shape.tokens),
          width_rows(take<const Pair*>(scratch, shape.width / 2)),
          depth_rows(take<const Pair*>(scratch, shape.depth / 2)) {}

    void prepare(Pair* right) {
        for (int k = 0; k < shape.width / 2; ++k) width_rows[k] = right + PairShape::size(k, shape.rows);
        for (int k = 0; k < shape.depth / 2; ++k) depth_rows[k] = right + PairShape::size(k, shape.width);
    }

    // How many rows the right factors must have.
    int turned_rows() const { return columns.single ? shape.tokens - 1 : shape.tokens; }
    int paired_rows() const { return round_up(shape.tokens, 2); }

    // a b^T (tokens x tokens) of rows of the width, for `done`; where the last column stands outside the vectors, it is
    // left in numbers.last. `left` is memory for a copy of a.
    template <class Done>
    void by_width(const PairedRows& a, bfloat16* left, const Pair*, const bfloat16* last_row,
                  const RowValues<float>& numbers, Ahead& ahead, const Done& done) const {
        bfloat16* to = left;
        for (int i = 0; i < shape.tokens; ++i) {
            Vec<float> sum = {};
            for (int j = 0; j < shape.width; j += 2 * kLanes<Pair>, to += 2 * kLanes<Pair>) {
                const Vec<Pair> pairs = a.row(i, j);
                store_bits(to, pairs);
                multiply_add(sum, pairs, load_bits<Vec<Pair>>(last_row + j));
            }
            numbers.store_wide(i, sum);
        }
        for (int i = 0; columns.single && i < shape.tokens; i += kLanes<float>) {
            store(numbers.last + i, numbers.reduce(i, [](Vec<float> x, Vec<float> y) { return x + y; }));
        }
        multiply<Pair>(shape.tokens, shape.width / 2, columns.vectors, reinterpret_cast<const Pair*>(left),
                       shape.width / 2, 1, width_rows, ahead, done);
    }
    // a (tokens x `depth`) b (tokens x width), for `done`.
    template <class Done>
    void by_tokens(const bfloat16* a, const Pair*, int depth, Ahead& ahead, const Done& done) const {
        multiply<Pair>(shape.tokens, (depth + 1) / 2, shape.width / kLanes<float>, reinterpret_cast<const Pair*>(a),
                       shape.depth / 2, 1, depth_rows, ahead, done);
    }
    // The same of an a of pairs of rows, turned.
    template <class Done>
    void by_tokens_turned(const Pair* a, const Pair*, Ahead& ahead, const Done& done) const {
        multiply<Pair>(shape.tokens, (shape.tokens + 1) / 2, shape.width / kLanes<float>, a, 1, shape.rows, depth_rows,
                       ahead, done);
    }
};

}  // namespace pyemo::PYEMO_ISA::window
