#pragma once

namespace pyemo::dense {

// A function of a distance u >= 0 from zero as cubics, one for each piece of a width; the first piece is half as wide,
// and the last, which goes on for ever, is zero. Piece i holds c[0][i] + c[1][i] u + c[2][i] u^2 + c[3][i] u^3.
struct Cubics {
    static constexpr int kPieces = 32;
    static constexpr double kWidth = 13. / 64;

    alignas(64) float c[4][kPieces];
};

// gelu(-u) = -tail(u), to 2e-3 of it, and the GELU's derivative there, to 2e-6; both are zero beyond 6.2, where tail is
// less than 2e-9.
struct GeluTable {
    Cubics tail, slope;
};

extern const GeluTable kGeluTable;

}  // namespace pyemo::dense
