// Vector operations of the spectrogram's kernels. For kernel sources only, like simd.h.
#pragma once

#include <cstddef>
#include <type_traits>

#include "common/simd_math.h"

namespace pyemo::PYEMO_ISA::simd {

template <class T>
inline Vec<T> square_root(Vec<T> x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == sizeof(float)) {
        return _mm512_sqrt_ps(x);
    } else {
        return _mm512_sqrt_pd(x);
    }
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == sizeof(float)) {
        return _mm256_sqrt_ps(x);
    } else {
        return _mm256_sqrt_pd(x);
    }
#elif defined(__SSE2__)
    if constexpr (sizeof(T) == sizeof(float)) {
        return _mm_sqrt_ps(x);
    } else {
        return _mm_sqrt_pd(x);
    }
#else
    for (int i = 0; i < kLanes<T>; ++i) {
        if constexpr (sizeof(T) == sizeof(float)) {
            x[i] = __builtin_sqrtf(x[i]);
        } else {
            x[i] = __builtin_sqrt(x[i]);
        }
    }
    return x;
#endif
}

// x^exponent for x >= 0 and exponent > 0; 0 for subnormal x.
template <class T>
inline Vec<T> raised(Vec<T> x, T exponent) {
    constexpr T kSmallest = sizeof(T) == sizeof(float) ? T(0x1p-126) : T(0x1p-1022);
    const Vec<T> power = exp2<T>(log2<T>(at_least<T>(x, kSmallest)) * exponent);
    return x < kSmallest ? Vec<T>{} : power;
}

// A store that does not bring the target into the caches; `p` is aligned.
template <class T>
inline void stream_aligned(T* p, Vec<T> v) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), bitcast<__m512i>(v));
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), bitcast<__m256i>(v));
#elif defined(__SSE2__)
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), bitcast<__m128i>(v));
#else
    store(p, v);
#endif
}

// Afterwards, other threads see what was streamed.
inline void finish_streaming() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

// a[0] b[0] a[1] b[1] ..., as two vectors.
template <class T>
inline void interleave(Vec<T> a, Vec<T> b, Vec<T>& low, Vec<T>& high) {
    constexpr int n = kLanes<T>;
#if defined(__clang__)
    for (int i = 0; i < n; ++i) {
        low[i] = i % 2 ? b[i / 2] : a[i / 2];
        high[i] = i % 2 ? b[(n + i) / 2] : a[(n + i) / 2];
    }
#else
    using Index = std::conditional_t<sizeof(T) == sizeof(float), std::int32_t, std::int64_t>;
    Vec<Index> turn;
    for (int i = 0; i < n; ++i) turn[i] = i % 2 ? n + i / 2 : i / 2;
    low = __builtin_shuffle(a, b, turn);
    high = __builtin_shuffle(a, b, turn + n / 2);
#endif
}

// target[r * target_stride + c] = source[c * source_stride + r] for r, c < kLanes.
template <class T>
inline void transpose_block(const T* source, std::ptrdiff_t source_stride, T* target, std::ptrdiff_t target_stride) {
    constexpr int n = kLanes<T>;
    Vec<T> rows[2][n];
    for (int c = 0; c < n; ++c) rows[0][c] = load(source + c * source_stride);
    // The rows are one sequence of n * n elements; each round of perfect shuffles rotates the bits of an element's
    // index.
    int from = 0;
    for (int round = 1; round < n; round *= 2, from ^= 1) {
        for (int i = 0; i < n / 2; ++i) {
            interleave<T>(rows[from][i], rows[from][i + n / 2], rows[from ^ 1][2 * i], rows[from ^ 1][2 * i + 1]);
        }
    }
    for (int r = 0; r < n; ++r) store(target + r * target_stride, rows[from][r]);
}

}  // namespace pyemo::PYEMO_ISA::simd
