// Vectors of the width of the instruction set this file is compiled for. For kernel sources only: everything is in the
// namespace of the instruction set (see isa.h). Compiler vectors give the arithmetic; intrinsics stand where they buy
// speed.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef PYEMO_ISA
#error "simd.h is for sources that are compiled once per instruction set"
#endif

namespace pyemo::PYEMO_ISA::simd {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T, int kLanes>
struct VectorOf {
    typedef T type __attribute__((vector_size(sizeof(T) * kLanes)));
};

template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
template <class T, int n = kLanes<T>>
using Vec = typename VectorOf<T, n>::type;

// Storage types: loaded as and stored from vectors of float.
struct float16 {
    std::uint16_t bits;
};
struct bfloat16 {
    std::uint16_t bits;
};

template <class To, class From>
inline To bitcast(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

template <class V, class T>
inline V load_bits(const T* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class T>
inline Vec<T> broadcast(T value) {
    return value - Vec<T>{};
}

// NaN in `v` stays NaN.
template <class T>
inline Vec<T> at_least(Vec<T> v, T low) {
    const Vec<T> bound = broadcast(low);
    return v < bound ? bound : v;
}
template <class T>
inline Vec<T> at_most(Vec<T> v, T high) {
    const Vec<T> bound = broadcast(high);
    return v > bound ? bound : v;
}

template <class T>
inline double sum(Vec<T> v) {
    double total = 0;
    for (int i = 0; i < kLanes<T>; ++i) total += static_cast<double>(v[i]);
    return total;
}

// Loads and stores, unaligned.

using Bits = Vec<std::uint32_t>;
using HalfBits = Vec<std::uint16_t, kLanes<float>>;

inline Bits widen(HalfBits half) {
#if defined(__AVX512F__)
    return bitcast<Bits>(_mm512_cvtepu16_epi32(bitcast<__m256i>(half)));
#elif defined(__AVX2__)
    return bitcast<Bits>(_mm256_cvtepu16_epi32(bitcast<__m128i>(half)));
#else
    return __builtin_convertvector(half, Bits);
#endif
}

inline HalfBits narrow(Bits bits) {
#if defined(__AVX512F__)
    return bitcast<HalfBits>(_mm512_cvtepi32_epi16(bitcast<__m512i>(bits)));
#else
    return __builtin_convertvector(bits, HalfBits);
#endif
}

inline Vec<float> load(const float* p) { return load_bits<Vec<float>>(p); }
inline Vec<double> load(const double* p) { return load_bits<Vec<double>>(p); }

inline Vec<float> load(const bfloat16* p) { return bitcast<Vec<float>>(widen(load_bits<HalfBits>(p)) << 16); }

inline Vec<float> load(const float16* p) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(load_bits<__m256i>(p));
#elif defined(__F16C__)
    return _mm256_cvtph_ps(load_bits<__m128i>(p));
#else
    // The exponent moves by a multiplication, which is right for subnormal numbers too; all ones stands for infinity
    // and NaN.
    const Bits half = widen(load_bits<HalfBits>(p)), magnitude = (half & 0x7fff) << 13;
    const Bits finite = bitcast<Bits>(bitcast<Vec<float>>(magnitude) * 0x1p112f);
    return bitcast<Vec<float>>((magnitude >= 0x7c00u << 13 ? magnitude | 0x7f800000 : finite) | (half & 0x8000) << 16);
#endif
}

inline void store(float* p, Vec<float> v) { std::memcpy(p, &v, sizeof v); }
inline void store(double* p, Vec<double> v) { std::memcpy(p, &v, sizeof v); }

inline void store(bfloat16* p, Vec<float> v) {
    const Bits bits = bitcast<Bits>(v), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const HalfBits half = narrow((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16 | 0x40) : rounded);
    std::memcpy(p, &half, sizeof half);
}

inline void store(float16* p, Vec<float> v) {
#if defined(__AVX512F__)
    const __m256i half = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__F16C__)
    const __m128i half = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    const Bits bits = bitcast<Bits>(v), magnitude = bits & 0x7fffffff;
    const Bits normal = (magnitude + 0xc8000fff + (magnitude >> 13 & 1)) >> 13;
    // Adding 0.5 leaves a subnormal number's significand, rounded, in the lowest bits.
    const Bits small = bitcast<Bits>(bitcast<Vec<float>>(magnitude) + 0.5f) - 0x3f000000;
    const Bits large = magnitude > 0x7f800000 ? 0x7e00 | Bits{} : 0x7c00 | Bits{};
    const Bits rounded = magnitude >= 0x47800000 ? large : magnitude < 0x38800000 ? small : normal;
    const HalfBits half = narrow(rounded | (bits >> 16 & 0x8000));
#endif
    std::memcpy(p, &half, sizeof half);
}

// table[p[i]] for each lane. A gather from a table that stays in the first cache is faster here than a logarithm in
// registers or a search through table registers.
inline Vec<float> lookup(const float* table, const std::uint8_t* p) {
#if defined(__AVX512F__)
    return _mm512_i32gather_ps(_mm512_cvtepu8_epi32(load_bits<__m128i>(p)), table, sizeof(float));
#elif defined(__AVX2__)
    std::int64_t bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return _mm256_i32gather_ps(table, _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes)), sizeof(float));
#else
    return Vec<float>{table[p[0]], table[p[1]], table[p[2]], table[p[3]]};
#endif
}

}  // namespace pyemo::PYEMO_ISA::simd
