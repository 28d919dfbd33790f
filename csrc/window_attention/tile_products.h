// Products of pairs of bfloat16 on the tile registers (AMX). For kernel sources only.
#pragma once

#include <immintrin.h>

#include <algorithm>

#include "window_attention/pairs.h"
#include "window_attention/softmax.h"

namespace pyemo::PYEMO_ISA::window {

// A tile is 16 rows of 64 bytes: 16 floats, or 16 pairs.
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

struct TileProducts {
    using Session = Tiles;

    const PairShape& shape;
    const Columns<float> columns;
    float* product;    // (rows x rows) or (rows x width)
    bfloat16* turned;  // (rows x depth), of the backward pass

    TileProducts(const PairShape& shape, bool backward, char*& scratch)
        : shape(shape),
          columns(shape.tokens),
          product(take<float>(scratch, PairShape::size(shape.rows, std::max(shape.rows, shape.width)))),
          turned(take<bfloat16>(scratch, backward ? PairShape::size(shape.rows, shape.depth) : 0)) {}
    void prepare(Pair*) {}
    int turned_rows() const { return shape.tokens; }
    int paired_rows() const { return shape.depth; }

    // As those of VectorProducts, but the depth is always that of the shape.
    template <class Done>
    void by_width(const PairedRows& a, bfloat16* left, const Pair* b, const bfloat16*, const RowValues<float>& numbers,
                  Ahead& ahead, const Done& done) const {
        a.copy(left);
        multiply(shape.rows, shape.rows, shape.width, left, b, product, ahead);
        for (int i = 0; columns.single && i < shape.tokens; ++i) {
            numbers.last[i] = product[PairShape::size(i, shape.rows) + shape.tokens - 1];
        }
        hand_over(shape.tokens, columns.vectors, product, shape.rows, done);
    }
    template <class Done>
    void by_tokens(const bfloat16* a, const Pair* b, int, Ahead& ahead, const Done& done) const {
        multiply(shape.rows, shape.width, shape.depth, a, b, product, ahead);
        hand_over(shape.tokens, shape.width / kLanes<float>, product, shape.width, done);
    }
    template <class Done>
    void by_tokens_turned(const Pair* a, const Pair* b, Ahead& ahead, const Done& done) const {
        transpose<Pair>(
            shape.depth / 2, shape.rows, [&](int i) { return a + PairShape::size(i, shape.rows); },
            reinterpret_cast<Pair*>(turned), shape.depth / 2);
        by_tokens(turned, b, shape.depth, ahead, done);
    }

  private:
    // Up to 2x2 tiles of a product. Strides in bytes.
    template <bool kTwoRows, bool kTwoColumns>
    static void multiply_tiles(int depth_tiles, const char* a, std::ptrdiff_t a_row, const char* b,
                               std::ptrdiff_t b_row, char* c, std::ptrdiff_t c_row, Ahead& ahead) {
        constexpr int kLinesAhead = 24;  // enough for all in the fewest tiles, those of a head of 32
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
            const char* const* lines = ahead.take(kLinesAhead);
            for (int i = 0; i < kLinesAhead; ++i) Ahead::fetch(lines[i]);
        }
        _tile_stored(0, c, c_row);
        if (kTwoColumns) _tile_stored(1, c + 64, c_row);
        if (kTwoRows) _tile_stored(2, c + c_tile, c_row);
        if (kTwoRows && kTwoColumns) _tile_stored(3, c + c_tile + 64, c_row);
    }

    // c (rows x columns) = a (rows x depth) b (depth x columns); whole tiles, rows side by side in memory.
    static void multiply(int rows, int columns, int depth, const bfloat16* a, const Pair* b, float* c, Ahead& ahead) {
        asm volatile("" ::: "memory");  // compilers do not know that tiles are loaded from what was stored before
        const std::ptrdiff_t a_row = depth * 2, b_row = columns * 4, c_row = columns * 4;
        for (int i = 0; i < rows; i += 2 * kTile) {
            const bool two_rows = i + kTile < rows;
            for (int j = 0; j < columns; j += 2 * kTile) {
                const bool two_columns = j + kTile < columns;
                const auto block = two_rows
                                       ? (two_columns ? multiply_tiles<true, true> : multiply_tiles<true, false>)
                                       : (two_columns ? multiply_tiles<false, true> : multiply_tiles<false, false>);
                block(depth / kTileDepth, reinterpret_cast<const char*>(a + static_cast<std::ptrdiff_t>(i) * depth),
                      a_row, reinterpret_cast<const char*>(b + j), b_row,
                      reinterpret_cast<char*>(c + static_cast<std::ptrdiff_t>(i) * columns + j), c_row, ahead);
            }
        }
        asm volatile("" ::: "memory");
    }
};

}  // namespace pyemo::PYEMO_ISA::window
