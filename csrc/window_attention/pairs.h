// Tokens of bfloat16 as factors of products that take two values at a time. For kernel sources only.
#pragma once

#include "window_attention/rows.h"
#include "window_attention/tokens.h"

namespace pyemo::PYEMO_ISA::window {

// Such a product's left factor has its rows side by side; its right one, in each row, pairs of values from two rows.
// It is of zeros where it is larger than the tokens and the head's width.
struct PairShape {
    static constexpr int kPadding = 32;

    int tokens, rows, depth, width;

    PairShape(int tokens, int head_dim)
        : tokens(tokens),
          rows(round_up(tokens, kLanes<float>)),
          depth(round_up(tokens, kPadding)),
          width(round_up(head_dim, kPadding)) {}

    static std::ptrdiff_t size(int rows, int columns) { return static_cast<std::ptrdiff_t>(rows) * columns; }
};

// Rows of tokens: where they are in the map if that can be, else copies; zeros where a tile has more rows than tokens.
struct PairedRows {
    const bfloat16** at;
    bfloat16 *copies, *zeros;
    int tokens, rows, width;
    bool in_place;

    PairedRows(int tokens, int head_dim, char*& scratch)
        : at(take<const bfloat16*>(scratch, round_up(tokens, PairShape::kPadding))),
          tokens(tokens),
          rows(round_up(tokens, PairShape::kPadding)),
          width(round_up(head_dim, PairShape::kPadding)),
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
        for (int i = 0; i < tokens; ++i) at[i] = reinterpret_cast<const bfloat16*>(from + offsets[i]);
        for (int i = 0; !in_place && i < tokens; ++i) {
            std::memcpy(static_cast<void*>(copies + i * width), at[i], sizeof(bfloat16) * problem.head_dim);
            at[i] = copies + i * width;
        }
    }

    Bits row(int i, int column) const { return load_bits<Bits>(at[i] + column); }

    // The left factor of a product: rows side by side.
    void copy(bfloat16* to) const {
        for (int i = 0; i < tokens; ++i) {
            for (int j = 0; j < width; j += 2 * kLanes<Pair>, to += 2 * kLanes<Pair>) store_bits(to, row(i, j));
        }
    }

    // The right factor of a product over the width: (width / 2 x columns) pairs, of so many rows.
    void turn(int rows, int columns, Pair* to) const {
        transpose<Pair>(rows, width / 2, [&](int i) { return reinterpret_cast<const Pair*>(at[i]); }, to, columns);
    }

    // The right factor of a product over the tokens: (rows / 2 x width) pairs, of so many rows.
    void pair(int rows, Pair* to) const {
        Vec<std::uint16_t, 32> lower, upper;  // the order of a pair of rows' values, the second row's from 32 on
        for (int k = 0; k < 32; ++k) {
            lower[k] = static_cast<std::uint16_t>(k % 2 * 32 + k / 2);
            upper[k] = static_cast<std::uint16_t>(lower[k] + 16);
        }
        for (int i = 0; i < rows; i += 2) {
            for (int j = 0; j < width; j += 2 * kLanes<Pair>, to += 2 * kLanes<Pair>) {
                const __m512i first = bitcast<__m512i>(row(i, j)), second = bitcast<__m512i>(row(i + 1, j));
                store_bits(to, _mm512_permutex2var_epi16(first, bitcast<__m512i>(lower), second));
                store_bits(to + kLanes<Pair>, _mm512_permutex2var_epi16(first, bitcast<__m512i>(upper), second));
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

inline Pair make_pair(float first, float second) {
    return round(first).bits | static_cast<Pair>(round(second).bits) << 16;
}

}  // namespace pyemo::PYEMO_ISA::window
