// The GELU with the normal distribution (Hendrycks and Gimpel 2016), its derivative, and its approximation by tanh. For
// kernel sources only.
#pragma once

#include "common/simd_math.h"
#include "dense/gelu_table.h"

namespace pyemo::PYEMO_ISA::dense {

using namespace simd;

inline Vec<float> magnitude(Vec<float> x) { return bitcast<Vec<float>>(bitcast<Bits>(x) & 0x7fffffff); }

template <bool kCoarse>
inline Vec<float> reciprocal(Vec<float> x) {
#if defined(__AVX512F__)
    const Vec<float> guess = _mm512_rcp14_ps(x);
    return kCoarse ? guess : guess * (2 - x * guess);
#else
    return 1 / x;
#endif
}

// Of the standard normal distribution: P(X <= x), and exp(-x^2 / 2). To 5e-7 of the tail's probability, or, coarsely,
// 2e-4 of it, which suffices for bfloat16.
struct Normal {
    Vec<float> below, bell;
};

template <bool kCoarse>
inline Normal normal(Vec<float> x) {
    // Beyond, exp(-x^2 / 2) is no normal number, and 0 here.
    constexpr float kEnd = 13.2f;
    const Vec<float> distance = magnitude(x);
    const Vec<float> power = at_least(x * x * static_cast<float>(-0.5 / kLn2), -126.f);
    const Vec<float> rounded = power + Ieee<float>::kRound;
    const Bits scale = (bitcast<Bits>(rounded) - bitcast<std::uint32_t>(Ieee<float>::kRound) + 127) << 23;
    const Vec<float> bell = exp2_fraction<kCoarse ? 3 : 5>(power - (rounded - Ieee<float>::kRound));
    Normal result;
    result.bell = distance < kEnd ? bell * bitcast<Vec<float>>(scale) : bell * 0;
    // P(X <= -u) exp(u^2 / 2) as a polynomial in t = 1 / (1 + p u), which is 0 at infinity: minimax for 0 <= u <= 14
    // (Lawson's algorithm), of relative errors 1e-7 and 3.1e-5.
    constexpr float kFine[] = {0.12163974f,  0.12246682f, 0.10342087f,  0.12102166f,
                               -0.03797679f, 0.18571687f, -0.15298828f, 0.036699187f};
    constexpr float kCoarsely[] = {0.14906102f, 0.15773396f, 0.0835641f, 0.20028155f, -0.090642765f};
    constexpr int kTerms = kCoarse ? 5 : 8;
    const float* c = kCoarse ? kCoarsely : kFine;
    const Vec<float> t = reciprocal<kCoarse>(at_most(distance, 2 * kEnd) * (kCoarse ? 0.375f : 0.305f) + 1);
    Vec<float> q = broadcast(c[kTerms - 1]);
    for (int k = kTerms - 2; k >= 0; --k) q = q * t + c[k];
    const Vec<float> tail = q * t * result.bell;
    result.below = x < 0 ? tail : 1 - tail;
    return result;
}

#if defined(__AVX512F__)
// A piece of cubics, whose table stays in registers.
class CubicsInRegisters {
  public:
    explicit CubicsInRegisters(const pyemo::dense::Cubics& cubics) {
        for (int k = 0; k < 4; ++k) lower_[k] = load(cubics.c[k]), upper_[k] = load(cubics.c[k] + kLanes<float>);
    }
    Vec<float> operator()(Vec<float> u) const {
        using pyemo::dense::Cubics;
        static_assert(Cubics::kPieces == 2 * kLanes<float>);
        // The nearest integer, which is the piece's number, stands in the lowest bits.
        const Vec<float> number = at_most(u, static_cast<float>((Cubics::kPieces - 1) * Cubics::kWidth)) *
                                      static_cast<float>(1 / Cubics::kWidth) +
                                  Ieee<float>::kRound;
        const auto coefficient = [&](int k) -> Vec<float> {
            return _mm512_permutex2var_ps(lower_[k], bitcast<__m512i>(number), upper_[k]);
        };
        return ((coefficient(3) * u + coefficient(2)) * u + coefficient(1)) * u + coefficient(0);
    }

  private:
    Vec<float> lower_[4], upper_[4];
};
#endif

// The GELU and its derivative, accurate enough for values that are stored as T.
template <class T>
struct Gelu {
    Vec<float> operator()(Vec<float> x) const { return x * normal<sizeof(T) == 2>(x).below; }
};
template <class T>
struct GeluSlope {
    Vec<float> operator()(Vec<float> x) const {
        const Normal at = normal<sizeof(T) == 2>(x);
        return at.below + x * at.bell * 0.3989422804f;  // 1 / sqrt(2 pi)
    }
};
#if defined(__AVX512F__)
template <>
struct Gelu<bfloat16> {
    CubicsInRegisters tail{pyemo::dense::kGeluTable.tail};
    Vec<float> operator()(Vec<float> x) const { return at_least(x, 0.f) - tail(magnitude(x)); }
};
template <>
struct GeluSlope<bfloat16> {
    CubicsInRegisters slope{pyemo::dense::kGeluTable.slope};
    Vec<float> operator()(Vec<float> x) const {
        const Vec<float> below = slope(magnitude(x));
        return x < 0 ? below : 1 - below;
    }
};
#endif

// The approximation x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = x / (1 + exp(-2 ...)).
template <class T>
struct GeluByTanh {
    Vec<float> operator()(Vec<float> x) const {
        constexpr bool kCoarse = sizeof(T) == 2;
        constexpr double kFactor = -2 * 0.79788456080286535588 / kLn2;
        const Vec<float> slope = x * x * static_cast<float>(0.044715 * kFactor) + static_cast<float>(kFactor);
        constexpr float kEnd = 126;  // where the exponential is 2^126, and nothing is left of x
        const Vec<float> power = at_most(at_least(x * slope, -kEnd), kEnd);
        const Vec<float> rounded = power + Ieee<float>::kRound;
        const Bits scale = (bitcast<Bits>(rounded) - bitcast<std::uint32_t>(Ieee<float>::kRound) + 127) << 23;
        const Vec<float> exponential =
            exp2_fraction<kCoarse ? 3 : 5>(power - (rounded - Ieee<float>::kRound)) * bitcast<Vec<float>>(scale);
        return power < kEnd ? x * reciprocal<kCoarse>(exponential + 1) : x * 0;
    }
};

template <class T>
struct GeluKernel {
    static constexpr int n = kLanes<float>;

    // What is left over where no whole vector is.
    struct Rest {
        T values[n] = {};

        Rest(const T* from, int count) { std::memcpy(values, from, count * sizeof(T)); }
        Vec<float> load() const { return simd::load(values); }
    };
    static void store_rest(T* to, Vec<float> v, int count) {
        T values[n];
        store(values, v);
        std::memcpy(to, values, count * sizeof(T));
    }

    static void forward(const char* x_data, char* y_data, std::int64_t count) {
        const T* x = reinterpret_cast<const T*>(x_data);
        T* y = reinterpret_cast<T*>(y_data);
        const Gelu<T> gelu;
        std::int64_t i = 0;
        for (; i + n <= count; i += n) store(y + i, gelu(load(x + i)));
        const int rest = static_cast<int>(count - i);
        if (rest) store_rest(y + i, gelu(Rest(x + i, rest).load()), rest);
    }

    static void backward(const char* dy_data, const char* x_data, char* dx_data, std::int64_t rows,
                         std::int64_t columns, float* sums) {
        const T *dy = reinterpret_cast<const T*>(dy_data), *x = reinterpret_cast<const T*>(x_data);
        T* dx = reinterpret_cast<T*>(dx_data);
        const GeluSlope<T> slope;
        for (std::int64_t row = 0; row < rows; ++row, dy += columns, x += columns, dx += columns) {
            std::int64_t i = 0;
            for (; i + n <= columns; i += n) {
                const Vec<float> d = load(dy + i) * slope(load(x + i));
                store(dx + i, d);
                if (sums) store(sums + i, load(sums + i) + d);
            }
            const int rest = static_cast<int>(columns - i);
            if (!rest) continue;
            const Vec<float> d = Rest(dy + i, rest).load() * slope(Rest(x + i, rest).load());
            store_rest(dx + i, d, rest);
            for (int k = 0; sums && k < rest; ++k) sums[i + k] += d[k];
        }
    }
};

}  // namespace pyemo::PYEMO_ISA::dense
