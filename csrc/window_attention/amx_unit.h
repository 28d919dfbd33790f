// Window attention of bfloat16 on the tile registers (AMX): products of bfloat16 with sums in float. For kernel sources
// only.
#pragma once

#if defined(__AMX_BF16__)

#include <immintrin.h>

#include "window_attention/rows.h"
#include "window_attention/softmax.h"
#include "window_attention/tokens.h"

namespace pyemo::PYEMO_ISA::window {

// A tile is 16 rows of 64 bytes: 16 floats, or 32 values of bfloat16, of which the right factor of a product has those
// that are multiplied with one value pair of the left side by side, as one element of 32 bits.
using Pair = std::uint32_t;
constexpr int kTile = 16, kTilePairs = 16, kTileDepth = 32;

// The tile registers, for as long as this lives.
class Tiles {
  public:
    Tiles() {
        struct alignas(64) {
            std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
            std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            std::uint8_t rows[16] = {kTile, kTile, kTile, kTile, kTile, kTile, kTile, kTile};
        } config;
        _tile_loadconfig(&config);
    }
    ~Tiles() { _tile_release(); }
    Tiles(const Tiles&) = delete;
};

// Up to 2x2 tiles of a product. Strides in bytes.
template <bool kTwoRows, bool kTwoColumns>
inline void multiply_tiles(int depth_tiles, const char* a, std::ptrdiff_t a_row, const char* b, std::ptrdiff_t b_row,
                           char* c, std::ptrdiff_t c_row) {
    const std::ptrdiff_t a_tile = kTile * a_row, b_tile = kTilePairs * b_row, c_tile = kTile * c_row;
    _tile_zero(0);
    if (kTwoColumns) _tile_zero(1);
    if (kTwoRows) _tile_zero(2);
    if (kTwoRows && kTwoColumns) _tile_zero(3);
    for (int k = 0; k < depth_tiles; ++k, a += 64, b += b_tile) {
        _tile_loadd(4, a, a_row);
        _tile_loadd(6, b, b_row);
        _tile_dpbf16ps(0, 4, 6);
        if (kTwoColumns) {
            _tile_loadd(7, b + 64, b_row);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (kTwoRows) {
            _tile_loadd(5, a + a_tile, a_row);
            _tile_dpbf16ps(2, 5, 6);
            if (kTwoColumns) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, c_row);
    if (kTwoColumns) _tile_stored(1, c + 64, c_row);
    if (kTwoRows) _tile_stored(2, c + c_tile, c_row);
    if (kTwoRows && kTwoColumns) _tile_stored(3, c + c_tile + 64, c_row);
}

// c (rows x columns) = a (rows x depth) b (depth x columns, in pairs of rows); whole tiles, rows side by side in
// memory.
inline void multiply_tiled(int rows, int columns, int depth, const bfloat16* a, const Pair* b, float* c) {
    asm volatile("" ::: "memory");  // compilers do not know that tiles are loaded from what was stored before
    const std::ptrdiff_t a_row = depth * 2, b_row = columns * 4, c_row = columns * 4;
    for (int i = 0; i < rows; i += 2 * kTile) {
        const bool two_rows = i + kTile < rows;
        for (int j = 0; j < columns; j += 2 * kTile) {
            const bool two_columns = j + kTile < columns;
            const auto block = two_rows ? (two_columns ? multiply_tiles<true, true> : multiply_tiles<true, false>)
                                        : (two_columns ? multiply_tiles<false, true> : multiply_tiles<false, false>);
            block(depth / kTileDepth, reinterpret_cast<const char*>(a + static_cast<std::ptrdiff_t>(i) * depth), a_row,
                  reinterpret_cast<const char*>(b + j), b_row,
                  reinterpret_cast<char*>(c + static_cast<std::ptrdiff_t>(i) * columns + j), c_row);
        }
    }
    asm volatile("" ::: "memory");
}

// Rows of tokens: where they are in the map if that can be, else copies; zeros where a tile has more rows than tokens.
struct PairedRows {
    const bfloat16** at;
    bfloat16 *copies, *zeros;
    int tokens, rows, width;
    bool in_place;

    PairedRows(int tokens, int head_dim, char*& scratch)
        : at(take<const bfloat16*>(scratch, round_up(tokens, kTileDepth))),
          tokens(tokens),
          rows(round_up(tokens, kTileDepth)),
          width(round_up(head_dim, kTileDepth)),
          in_place(width == head_dim) {
        copies = take<bfloat16>(scratch, in_place ? 0 : static_cast<std::size_t>(tokens) * width);
        zeros = take<bfloat16>(scratch, width);
    }

    void prepare() {
        clear(zeros, width);
        if (!in_place) clear(copies, static_cast<std::size_t>(tokens) * width);
        for (int i = tokens; i < rows; ++i) at[i] = zeros;
    }

    void read(const Problem& problem, const Map& map, const std::ptrdiff_t* offsets, int channel) {
        const char* from = map.data + channel * static_cast<std::ptrdiff_t>(sizeof(bfloat16));
        for (int i = 0; i < tokens; ++i) {
            at[i] = reinterpret_cast<const bfloat16*>(from + offsets[i]);
            if (in_place) continue;
            std::memcpy(static_cast<void*>(copies + i * width), at[i], sizeof(bfloat16) * problem.head_dim);
            at[i] = copies + i * width;
        }
    }

    // The left factor of a product: rows side by side.
    void copy(bfloat16* to) const {
        for (int i = 0; i < tokens; ++i) {
            for (int j = 0; j < width; j += 32) {
                const auto v = load_bits<Vec<std::uint32_t>>(at[i] + j);
                std::memcpy(static_cast<void*>(to + i * width + j), &v, sizeof v);
            }
        }
    }

    // The right factor of a product over the width: (width / 2 x columns) pairs.
    void turn(int columns, Pair* to) const {
        transpose<Pair>(tokens, width / 2, [&](int i) { return reinterpret_cast<const Pair*>(at[i]); }, to, columns);
    }

    // The right factor of a product over the tokens: (rows / 2 x width) pairs.
    void pair(Pair* to) const {
        for (int i = 0; i < rows; i += 2) {
            for (int j = 0; j < width; j += kLanes<Pair>, to += kLanes<Pair>) {
                const Bits pairs = widen(load_bits<HalfBits>(at[i] + j)) | widen(load_bits<HalfBits>(at[i + 1] + j))
                                                                               << 16;
                std::memcpy(to, &pairs, sizeof pairs);
            }
        }
    }
};

// Two rows as pairs of bfloat16, rounded to nearest.
inline Bits make_pairs(Vec<float> first, Vec<float> second) {
    return (bitcast<Bits>(first) + 0x8000) >> 16 | ((bitcast<Bits>(second) + 0x8000) & 0xffff0000);
}

inline bfloat16 round(float value) {
    return {static_cast<std::uint16_t>((bitcast<std::uint32_t>(value) + 0x8000) >> 16)};
}

// One head of one window, with what it takes to work on it.
struct AmxUnit {
    static constexpr int kDegree = 3;
    using C = float;
    using Session = Tiles;

    const Problem& problem;
    const Columns<float> columns;
    const int tokens, rows, depth, width;  // tokens up to a multiple of a tile's rows, of its depth; the head's width
    PairedRows query, key, value, grad;
    Mask<float> mask;
    Places places;
    bfloat16* left;                                 // (rows x width)
    Pair* right;                                    // (width / 2 x rows) or (depth / 2 x width)
    float *scores, *grad_scores, *product;          // (rows x rows) twice, (rows x width)
    bfloat16 *weights, *turned_weights;             // (rows x depth)
    Pair *paired_weights, *paired_grads;            // (depth / 2 x rows)
    float *products, *query_inverse, *key_inverse;  // cosine attention's products of queries and keys (rows x rows)
    RowValues<float> numbers;

    AmxUnit(const Problem& problem, bool backward, char*& scratch)
        : problem(problem),
          columns(problem.tokens),
          tokens(problem.tokens),
          rows(round_up(tokens, kTile)),
          depth(round_up(tokens, kTileDepth)),
          width(round_up(problem.head_dim, kTileDepth)),
          query(tokens, problem.head_dim, scratch),
          key(tokens, problem.head_dim, scratch),
          value(tokens, problem.head_dim, scratch),
          grad(backward ? tokens : 0, problem.head_dim, scratch),
          mask(problem, columns.stride, scratch),
          places(problem.tokens, scratch),
          left(take<bfloat16>(scratch, size(rows, width))),
          right(take<Pair>(scratch, size(depth, width))),
          scores(take<float>(scratch, size(rows, rows))),
          grad_scores(take<float>(scratch, backward ? size(rows, rows) : 0)),
          product(take<float>(scratch, size(rows, width))),
          weights(take<bfloat16>(scratch, size(rows, depth))),
          turned_weights(take<bfloat16>(scratch, backward ? size(rows, depth) : 0)),
          paired_weights(take<Pair>(scratch, backward ? size(depth / 2, rows) : 0)),
          paired_grads(take<Pair>(scratch, backward ? size(depth / 2, rows) : 0)),
          products(take<float>(scratch, backward && problem.logit_scale ? size(rows, rows) : 0)),
          query_inverse(take<float>(scratch, rows)),
          key_inverse(take<float>(scratch, rows)),
          numbers(tokens, take<float>(scratch, RowValues<float>::count(tokens))) {}

    static std::size_t size(int rows, int columns) { return static_cast<std::size_t>(rows) * columns; }

    void prepare(bool backward) {
        for (PairedRows* part : {&query, &key, &value}) part->prepare();
        if (backward) {
            grad.prepare();
            clear(paired_weights, size(depth / 2, rows));
            clear(paired_grads, size(depth / 2, rows));
        }
        clear(left, size(rows, width));
        clear(weights, size(rows, depth));
        clear(key_inverse, rows);
        numbers.clear_rest(tokens);
    }

    void write(float factor, const float* factors, const Map& map, const std::ptrdiff_t* offsets, int channel) const {
        char* to = map.data + channel * static_cast<std::ptrdiff_t>(sizeof(bfloat16));
        for (int i = 0; i < tokens; ++i) {
            write_row<bfloat16, float>(product + i * width, problem.head_dim, factors ? factors[i] : factor,
                                       to + offsets[i]);
        }
    }

    // Scaled products of queries and keys in `scores`, and how they are scaled.
    Scaling<float> score(int head) {
        const int channels = problem.heads * problem.head_dim, channel = head * problem.head_dim;
        query.read(problem, problem.qkv, places.qkv, channel);
        key.read(problem, problem.qkv, places.qkv, channels + channel);
        value.read(problem, problem.qkv, places.qkv, 2 * channels + channel);
        query.copy(left);
        key.turn(rows, right);
        multiply_tiled(rows, rows, width, left, right, scores);
        if (!problem.logit_scale) return {static_cast<float>(problem.scale), nullptr, nullptr};
        inverse_lengths(tokens, width, query.at, query_inverse);
        inverse_lengths(tokens, width, key.at, key_inverse);
        return {static_cast<const float*>(problem.logit_scale)[head], query_inverse, key_inverse};
    }

    template <class Power>
    void weigh(const Scaling<float>& scales, const float* bias, const float* window_mask, Power* powers, int stride) {
        softmax<kDegree>(columns, scores, scales, bias, window_mask, numbers, powers, stride);
    }

    void forward(int head, const float* bias, const float* window_mask) {
        const Scaling<float> scales = score(head);
        weigh(scales, bias, window_mask, weights, depth);
        if (columns.single) {
            for (int i = 0; i < tokens; ++i) weights[i * depth + tokens - 1] = round(numbers.last[i]);
        }
        value.pair(right);
        multiply_tiled(rows, width, depth, weights, right, product);
        write(1, numbers.inverse, problem.output, places.output, head * problem.head_dim);
    }

    // From the powers in `scores` and the gradient of the probabilities in `grad_scores` to the probabilities, in
    // pairs of rows, and the gradient of the products of queries and keys, in pairs of rows and in `weights`.
    // Returns, of cosine attention, the gradient of its logit_scale: not from the rounded gradients, which nearly
    // cancel.
    double softmax_backward(const Scaling<float>& scales, float* grad_bias) {
        mean_gradients(columns, scores, grad_scores, numbers);
        const int last = tokens - 1;
        Vec<float> cosine_sum = {};
        float last_cosine_sum = 0;
        for (int i = 0; i < tokens; i += 2) {
            const bool two = i + 1 < tokens;
            for (int v = 0; v < columns.vectors; ++v) {
                const int column = v * kLanes<float>;
                Vec<float> probability[2] = {}, grad_logit[2] = {};
                for (int r = 0; r < (two ? 2 : 1); ++r) {
                    const int at = (i + r) * columns.stride + column;
                    probability[r] = load(scores + at) * numbers.inverse[i + r];
                    const Vec<float> g = probability[r] * (load(grad_scores + at) - numbers.top[i + r]);
                    if (grad_bias) store(grad_bias + at, load(grad_bias + at) + g);
                    grad_logit[r] = g * scales.at(i + r, column, broadcast(scales.of(i + r)));
                    if (scales.rows) cosine_sum += grad_logit[r] * load(products + at);
                    store(weights + (i + r) * depth + column, grad_logit[r]);
                }
                const Bits probabilities = make_pairs(probability[0], probability[1]),
                           grads = make_pairs(grad_logit[0], grad_logit[1]);
                std::memcpy(paired_weights + i / 2 * rows + column, &probabilities, sizeof probabilities);
                std::memcpy(paired_grads + i / 2 * rows + column, &grads, sizeof grads);
            }
            if (!columns.single) continue;
            Pair probabilities = 0, grads = 0;
            for (int r = 0; r < (two ? 2 : 1); ++r) {
                const int at = (i + r) * columns.stride + last;
                const float probability = scores[at] * numbers.inverse[i + r];
                const float grad_logit = probability * (grad_scores[at] - numbers.top[i + r]);
                if (grad_bias) grad_bias[at] += grad_logit;
                const float scaled = grad_logit * scales.of(i + r) * (scales.columns ? scales.columns[last] : 1);
                if (scales.rows) last_cosine_sum += scaled * products[at];
                const bfloat16 grad = round(scaled);
                weights[(i + r) * depth + last] = grad;
                probabilities |= static_cast<Pair>(round(probability).bits) << (16 * r);
                grads |= static_cast<Pair>(grad.bits) << (16 * r);
            }
            paired_weights[i / 2 * rows + last] = probabilities;
            paired_grads[i / 2 * rows + last] = grads;
        }
        return sum<float>(cosine_sum) + static_cast<double>(last_cosine_sum);
    }

    // `turned_weights`: the transpose of a (tokens x tokens) matrix in pairs of rows, as the left factor of a product.
    void turn(const Pair* pairs) {
        transpose<Pair>(
            depth / 2, rows, [&](int i) { return pairs + static_cast<std::ptrdiff_t>(i) * rows; },
            reinterpret_cast<Pair*>(turned_weights), depth / 2);
    }

    void backward(int head, const float* bias, const float* window_mask, float* grad_bias, double* grad_logit_scale) {
        const int channels = problem.heads * problem.head_dim, channel = head * problem.head_dim;
        const Scaling<float> scales = score(head);
        if (scales.rows) std::memcpy(products, scores, sizeof(float) * size(rows, rows));
        weigh(scales, bias, window_mask, scores, columns.stride);
        if (columns.single) {
            for (int i = 0; i < tokens; ++i) scores[i * columns.stride + tokens - 1] = numbers.last[i];
        }
        grad.read(problem, problem.output, places.output, channel);
        grad.copy(left);
        value.turn(rows, right);
        multiply_tiled(rows, rows, width, left, right, grad_scores);
        const double cosine_sum = softmax_backward({1, scales.rows, scales.columns}, grad_bias);
        if (grad_logit_scale) *grad_logit_scale += cosine_sum;

        turn(paired_weights);
        grad.pair(right);
        multiply_tiled(rows, width, depth, turned_weights, right, product);
        write(1, nullptr, problem.grad_qkv, places.grad_qkv, 2 * channels + channel);

        key.pair(right);
        multiply_tiled(rows, width, depth, weights, right, product);
        if (scales.rows) project_out(tokens, width, query.at, scales.rows, product);
        write(scales.all, nullptr, problem.grad_qkv, places.grad_qkv, channel);

        turn(paired_grads);
        query.pair(right);
        multiply_tiled(rows, width, depth, turned_weights, right, product);
        if (scales.columns) project_out(tokens, width, key.at, scales.columns, product);
        write(scales.all, nullptr, problem.grad_qkv, places.grad_qkv, channels + channel);
    }
};

}  // namespace pyemo::PYEMO_ISA::window

#endif
