// Base-two logarithm and exponential of vectors, in the accuracy of their type. For kernel sources only, like simd.h.
#pragma once

#include "common/simd.h"

namespace pyemo::PYEMO_ISA::simd {

template <class T>
struct Ieee;

template <>
struct Ieee<float> {
    using Bits = std::uint32_t;
    static constexpr int kMantissaBits = 23, kBias = 127;
    static constexpr Bits kSqrtHalf = 0x3f3504f3;
    static constexpr float kRound = 0x1.8p23f;  // added and taken away again, it leaves the nearest integer
    static constexpr float kInfinity = __builtin_inff();
};

template <>
struct Ieee<double> {
    using Bits = std::uint64_t;
    static constexpr int kMantissaBits = 52, kBias = 1023;
    static constexpr Bits kSqrtHalf = 0x3fe6a09e667f3bcd;
    static constexpr double kRound = 0x1.8p52;
    static constexpr double kInfinity = __builtin_inf();
};

constexpr double kLn2 = 0.693147180559945309417;

// log2(1 + f) for sqrt(1/2) - 1 <= f < sqrt(2) - 1.
inline Vec<float> log2_mantissa(Vec<float> f) {
    // Minimax polynomial in f, zero at zero; its absolute error is below 1e-7 (found by Lawson's algorithm, evaluated
    // in float32).
    constexpr float kC[] = {1.4426947832107544f,  -0.7213571667671204f, 0.48093944787979126f, -0.36008721590042114f,
                            0.28670746088027954f, -0.2500690221786499f, 0.23689039051532745f, -0.14574450254440308f};
    Vec<float> q = broadcast(kC[7]);
    for (int i = 6; i >= 0; --i) q = q * f + kC[i];
    return q * f;
}

inline Vec<double> log2_mantissa(Vec<double> f) {
    // 2 artanh(s) with s = f / (2 + f), |s| < 0.172: ten terms of the series leave 2e-17.
    const Vec<double> s = f / (f + 2), z = s * s;
    Vec<double> q = broadcast(1. / 19);
    for (int k = 17; k >= 1; k -= 2) q = q * z + 1. / k;
    return q * s * (2 / kLn2);
}

// For positive normal numbers, infinity and NaN.
template <class T>
inline Vec<T> log2(Vec<T> x) {
    using F = Ieee<T>;
    using B = typename F::Bits;
    constexpr B kOne = static_cast<B>(F::kBias) << F::kMantissaBits;
    // x = m * 2^e with sqrt(1/2) <= m < sqrt(2)
    const Vec<B> shifted = bitcast<Vec<B>>(x) + (kOne - F::kSqrtHalf);
    const Vec<T> m = bitcast<Vec<T>>((shifted & ((B{1} << F::kMantissaBits) - 1)) + F::kSqrtHalf);
    // The biased exponent, put into the lowest bits of kRound, makes a float of it without a conversion that not every
    // machine has.
    const Vec<B> e = (shifted >> F::kMantissaBits) + bitcast<B>(F::kRound);
    const Vec<T> result = (bitcast<Vec<T>>(e) - (F::kRound + F::kBias)) + log2_mantissa(m - 1);
    return x < F::kInfinity ? result : x;
}

#if defined(__AVX512F__)
// log2 of 1, 2, ... 255 and of 255e-6, each plus the same constant: two of them differ by what their logarithms do, to
// 3e-6.
inline Vec<float> log2_of_byte_plus_constant(Vec<float> x) {
    const Vec<float> e = _mm512_getexp_ps(x), m = _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
    // Minimax over the 129 mantissas (by linear programming) with the constant left free, which saves a step.
    constexpr float kC[] = {7.147458076477051f, -7.523254871368408f,   5.816051483154297f,   -3.009472131729126f,
                            0.988362729549408f, -0.18631324172019958f, 0.015358401462435722f};
    Vec<float> q = broadcast(kC[6]);
    for (int i = 5; i >= 0; --i) q = q * m + kC[i];
    return q * m + e;
}
#endif

template <int kDegree>
inline Vec<float> polynomial(const float (&c)[kDegree + 1], Vec<float> x) {
    Vec<float> p = broadcast(c[kDegree]);
    for (int k = kDegree - 1; k >= 0; --k) p = p * x + c[k];
    return p;
}

// 2^f for -1/2 <= f <= 1/2: minimax polynomials (Lawson's algorithm), of relative errors 8e-5 and, in float32, 3e-7.
template <int kDegree>
inline Vec<float> exp2_fraction(Vec<float> f) {
    static_assert(kDegree == 3 || kDegree == 5);
    if constexpr (kDegree == 3) {
        return polynomial<3>({0.99992807299735231f, 0.69326098620296028f, 0.24261113138277207f, 0.055171669359520142f},
                             f);
    } else {
        return polynomial<5>({1.0000000716552193f, 0.69314696706326373f, 0.24022119721166699f, 0.055507132746512942f,
                              0.0096755414798409128f, 0.0013276472028233442f},
                             f);
    }
}

// 2^f for 0 <= f < 1, likewise, of relative errors 9e-5 and, in float32, 2e-7; exact at 0.
template <int kDegree>
inline Vec<float> exp2_rest(Vec<float> f) {
    static_assert(kDegree == 3 || kDegree == 5);
    if constexpr (kDegree == 3) {
        return polynomial<3>({1, 0.69511675834655762f, 0.22764499485492706f, 0.077067039906978607f}, f);
    } else {
        return polynomial<5>({1, 0.69315129518508911f, 0.24016444385051727f, 0.055799912661314011f,
                              0.0090170307084918022f, 0.0018671300495043397f},
                             f);
    }
}

// ln(2)^k / k!, the Taylor coefficients of 2^f.
template <int kDegree>
struct Exp2Series {
    double c[kDegree + 1];
    constexpr Exp2Series() : c{1} {
        for (int k = 1; k <= kDegree; ++k) c[k] = c[k - 1] * kLn2 / k;
    }
};

// 2^x, within the normal range: below it the smallest normal number, above the largest power of two infinity.
template <class T>
inline Vec<T> exp2(Vec<T> x) {
    using F = Ieee<T>;
    using B = typename F::Bits;
    constexpr int kDegree = sizeof(T) == sizeof(float) ? 7 : 13;
    constexpr Exp2Series<kDegree> kSeries;
    const Vec<T> clamped = at_most(at_least(x, T(1 - F::kBias)), T(F::kBias));
    const Vec<T> rounded = clamped + F::kRound;
    const Vec<T> f = clamped - (rounded - F::kRound);  // -1/2 <= f <= 1/2
    Vec<T> p = broadcast(T(kSeries.c[kDegree]));
    for (int k = kDegree - 1; k >= 0; --k) p = p * f + T(kSeries.c[k]);
    const Vec<B> scale = (bitcast<Vec<B>>(rounded) - bitcast<B>(F::kRound) + F::kBias) << F::kMantissaBits;
    return x > T(F::kBias) ? broadcast(F::kInfinity) : p * bitcast<Vec<T>>(scale);
}

}  // namespace pyemo::PYEMO_ISA::simd
