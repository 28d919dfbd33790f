// For the compiler's -include: the tile registers of AMX and the intrinsics that csrc uses, in plain C++, so that
// kernels for them run on processors without, and sanitizers see what they load and store. What a processor would
// refuse ends the program.
#pragma once

#if defined(__AMX_BF16__)

#include <immintrin.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace pyemo::PYEMO_ISA::emulation {

constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;

struct Tile {
    int rows = 0, row_bytes = 0;  // 0: not configured
    std::uint32_t words[kRows][kRowBytes / 4] = {};
};

inline thread_local Tile tiles[kTiles];

inline void require(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "emulated AMX: %s\n", what);
    std::abort();
}

inline Tile& tile(int index) {
    require(tiles[index].rows > 0, "a tile that is not configured");
    return tiles[index];
}

inline void load_config(const void* config) {
    struct {
        std::uint8_t palette, start_row, reserved[14];
        std::uint16_t row_bytes[16];
        std::uint8_t rows[16];
    } given;
    static_assert(sizeof given == 64);
    std::memcpy(&given, config, sizeof given);
    require(given.palette == 1 && given.start_row == 0, "a configuration of another palette or start row");
    for (const std::uint8_t byte : given.reserved) require(byte == 0, "a configuration with reserved bytes set");
    for (int t = 0; t < 16; ++t) {
        require((given.rows[t] == 0) == (given.row_bytes[t] == 0), "a tile of rows without bytes or the reverse");
        require(t < kTiles || given.rows[t] == 0, "a tile that there is none of");
        require(given.rows[t] <= kRows && given.row_bytes[t] <= kRowBytes, "a tile that is too large");
        if (t < kTiles) tiles[t] = {given.rows[t], given.row_bytes[t]};
    }
}

inline void release() {
    for (Tile& each : tiles) each = Tile();
}

inline void zero(int index) { std::memset(tile(index).words, 0, sizeof(Tile::words)); }

inline void load(int index, const void* base, std::ptrdiff_t stride) {
    Tile& to = tile(index);
    zero(index);
    for (int row = 0; row < to.rows; ++row) {
        std::memcpy(to.words[row], static_cast<const char*>(base) + row * stride, to.row_bytes);
    }
}

inline void store(int index, void* base, std::ptrdiff_t stride) {
    const Tile& from = tile(index);
    for (int row = 0; row < from.rows; ++row) {
        std::memcpy(static_cast<char*>(base) + row * stride, from.words[row], from.row_bytes);
    }
}

inline float as_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// sum (M x N floats) += a (M x 2K values) times b (K x N pairs of values).
inline void multiply_pairs(int sum_index, int a_index, int b_index) {
    require(sum_index != a_index && sum_index != b_index && a_index != b_index, "a tile given twice");
    Tile& sum = tile(sum_index);
    const Tile &a = tile(a_index), &b = tile(b_index);
    require(a.rows == sum.rows && b.row_bytes == sum.row_bytes && a.row_bytes == 4 * b.rows, "tiles that do not fit");
    constexpr std::uint32_t kSecond = 0xffff0000;
    for (int m = 0; m < sum.rows; ++m) {
        float total[kRowBytes / 4];
        std::memcpy(total, sum.words[m], sizeof total);
        for (int k = 0; k < b.rows; ++k) {
            const std::uint32_t left = a.words[m][k];
            const float first = as_float(left << 16), second = as_float(left & kSecond);
            for (int n = 0; n < sum.row_bytes / 4; ++n) {
                const std::uint32_t right = b.words[k][n];
                total[n] += first * as_float(right << 16) + second * as_float(right & kSecond);
            }
        }
        std::memcpy(sum.words[m], total, sizeof total);
    }
}

}  // namespace pyemo::PYEMO_ISA::emulation

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) pyemo::PYEMO_ISA::emulation::load_config(config)
#define _tile_release() pyemo::PYEMO_ISA::emulation::release()
#define _tile_zero(tile) pyemo::PYEMO_ISA::emulation::zero(tile)
#define _tile_loadd(tile, base, stride) pyemo::PYEMO_ISA::emulation::load(tile, base, stride)
#define _tile_stored(tile, base, stride) pyemo::PYEMO_ISA::emulation::store(tile, base, stride)
#define _tile_dpbf16ps(sum, a, b) pyemo::PYEMO_ISA::emulation::multiply_pairs(sum, a, b)

#endif
