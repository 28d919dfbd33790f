#include "dense/gelu_table.h"

#include <cmath>

namespace pyemo::dense {

namespace {

constexpr double kPi = 3.14159265358979323846;

// P(X > u) of the standard normal distribution, and its density.
double above(double u) { return std::erfc(u * std::sqrt(0.5)) / 2; }
double density(double u) { return std::exp(-u * u / 2) / std::sqrt(2 * kPi); }

// The polynomial of a degree below kTerms that agrees with f at the Chebyshev nodes of an interval: its coefficients,
// the lowest first.
template <int kTerms, class F>
void interpolate(double begin, double end, const F& f, double* c) {
    double nodes[kTerms], differences[kTerms];
    for (int i = 0; i < kTerms; ++i) {
        nodes[i] = (begin + end) / 2 + (end - begin) / 2 * std::cos((2 * i + 1) * kPi / (2 * kTerms));
        differences[i] = f(nodes[i]);
    }
    for (int order = 1; order < kTerms; ++order) {
        for (int i = kTerms - 1; i >= order; --i) {
            differences[i] = (differences[i] - differences[i - 1]) / (nodes[i] - nodes[i - order]);
        }
    }
    // Newton's form, multiplied out.
    for (int i = 0; i < kTerms; ++i) c[i] = 0;
    for (int i = kTerms - 1; i >= 0; --i) {
        for (int k = kTerms - 1; k > 0; --k) c[k] = c[k - 1] - nodes[i] * c[k];
        c[0] = differences[i] - nodes[i] * c[0];
    }
}

template <class F>
void fit(const F& f, bool zero_at_zero, Cubics& cubics) {
    constexpr double kWidth = Cubics::kWidth;
    for (int i = 0; i < Cubics::kPieces - 1; ++i) {
        double c[4] = {};
        if (i == 0 && zero_at_zero) {  // exactly, so that small numbers have small errors
            interpolate<3>(0, kWidth / 2, [&](double u) { return f(u) / u; }, c + 1);
        } else {
            interpolate<4>(i == 0 ? 0 : (i - 0.5) * kWidth, (i + 0.5) * kWidth, f, c);
        }
        for (int k = 0; k < 4; ++k) cubics.c[k][i] = static_cast<float>(c[k]);
    }
    for (auto& of_power : cubics.c) of_power[Cubics::kPieces - 1] = 0;
}

GeluTable make_table() {
    GeluTable table;
    fit([](double u) { return u * above(u); }, true, table.tail);
    fit([](double u) { return above(u) - u * density(u); }, false, table.slope);
    return table;
}

}  // namespace

const GeluTable kGeluTable = make_table();

}  // namespace pyemo::dense
