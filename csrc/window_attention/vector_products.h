// Products of pairs of bfloat16 on vectors (AVX-512 BF16). For kernel sources only.
#pragma once

#include "window_attention/pairs.h"
#include "window_attention/softmax.h"

namespace pyemo::PYEMO_ISA::window {

struct VectorProducts {
    struct Session {};

    const PairShape& shape;
    const Columns<float> columns;
    const Pair **width_rows, **depth_rows;  // of the right factor, as far as either product goes

    VectorProducts(const PairShape& shape, bool, char*& scratch)
        : shape(shape),
          columns(shape.tokens),
          width_rows(take<const Pair*>(scratch, shape.width / 2)),
          depth_rows(take<const Pair*>(scratch, shape.depth / 2)) {}

    void prepare(Pair* right) {
        for (int k = 0; k < shape.width / 2; ++k) width_rows[k] = right + PairShape::size(k, shape.rows);
        for (int k = 0; k < shape.depth / 2; ++k) depth_rows[k] = right + PairShape::size(k, shape.width);
    }

    void by_width(const bfloat16* a, const Pair*, const bfloat16* last_row, float* c, Ahead& ahead) const {
        multiply<Pair>(shape.tokens, shape.width / 2, columns.vectors, reinterpret_cast<const Pair*>(a),
                       shape.width / 2, 1, width_rows, c, shape.rows, ahead);
        if (!columns.single) return;
        for (int i = 0; i < shape.tokens; i += kLanes<float>) {
            Vec<float> sums[kLanes<float>] = {};
            for (int k = 0; k < kLanes<float>; ++k) {
                for (int j = 0; j < shape.width; j += 2 * kLanes<Pair>) {
                    multiply_add(sums[k], load_bits<Vec<Pair>>(a + PairShape::size(i + k, shape.width) + j),
                                 load_bits<Vec<Pair>>(last_row + j));
                }
            }
            const Vec<float> dots = reduce_each<float>(sums, [](Vec<float> x, Vec<float> y) { return x + y; });
            for (int k = 0; k < kLanes<float> && i + k < shape.tokens; ++k) {
                c[PairShape::size(i + k, shape.rows) + shape.tokens - 1] = dots[k];
            }
        }
    }
    void by_tokens(const bfloat16* a, const Pair*, float* c, Ahead& ahead) const {
        multiply<Pair>(shape.tokens, (shape.tokens + 1) / 2, shape.width / kLanes<float>,
                       reinterpret_cast<const Pair*>(a), shape.depth / 2, 1, depth_rows, c, shape.width, ahead);
    }
    void by_tokens_turned(const Pair* a, const Pair*, float* c, Ahead& ahead) const {
        multiply<Pair>(shape.tokens, (shape.tokens + 1) / 2, shape.width / kLanes<float>, a, 1, shape.rows, depth_rows,
                       c, shape.width, ahead);
    }
};

}  // namespace pyemo::PYEMO_ISA::window
