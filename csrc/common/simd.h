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

// For functions whose arguments are to stay in registers.
#define PYEMO_INLINE inline __attribute__((always_inline))

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
template <class T, class V>
inline void store_bits(T* p, const V& v) {
    std::memcpy(static_cast<void*>(p), &v, sizeof v);
}

template <class T>
inline Vec<T> broadcast(T value) {
    return value - Vec<T>{};
}

// NaN in `v` stays NaN. (x86's instructions return their second operand then; compilers do not always find them.)
template <class T>
inline Vec<T> at_least(Vec<T> v, T low) {
    const Vec<T> bound = broadcast(low);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == sizeof(float)) return _mm512_max_ps(bound, v);
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == sizeof(float)) return _mm256_max_ps(bound, v);
#elif defined(__SSE2__)
    if constexpr (sizeof(T) == sizeof(float)) return _mm_max_ps(bound, v);
#endif
    return v < bound ? bound : v;
}
template <class T>
inline Vec<T> at_most(Vec<T> v, T high) {
    const Vec<T> bound = broadcast(high);
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == sizeof(float)) return _mm512_min_ps(bound, v);
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == sizeof(float)) return _mm256_min_ps(bound, v);
#elif defined(__SSE2__)
    if constexpr (sizeof(T) == sizeof(float)) return _mm_min_ps(bound, v);
#endif
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

// One of them.
inline float scalar(float x) { return x; }
inline float scalar(bfloat16 x) { return bitcast<float>(std::uint32_t{x.bits} << 16); }

inline void store(float* p, Vec<float> v) { store_bits(p, v); }
inline void store(double* p, Vec<double> v) { store_bits(p, v); }

inline void store(bfloat16* p, Vec<float> v) {
#if defined(__AVX512BF16__)
    const __m256bh half = _mm512_cvtneps_pbh(v);  // subnormal numbers become 0
#else
    const Bits bits = bitcast<Bits>(v), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const HalfBits half = narrow((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16 | 0x40) : rounded);
#endif
    store_bits(p, half);
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
    store_bits(p, half);
}

// Bytes, one a lane.

inline Bits load_bytes(const std::uint8_t* p) {
#if defined(__AVX512F__)
    return bitcast<Bits>(_mm512_cvtepu8_epi32(load_bits<__m128i>(p)));
#elif defined(__AVX2__)
    return bitcast<Bits>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
    return Bits{p[0], p[1], p[2], p[3]};
#endif
}

// The same of three channels whose bytes take turns in memory.
inline void load_interleaved_bytes(const std::uint8_t* p, Bits (&channels)[3]) {
#if defined(__AVX2__)
    // Each 128-bit part gets the 12 bytes of its four pixels, of which a shuffle picks every third.
    constexpr char z = -1;
#if defined(__AVX512F__)
    const __m512i turn = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    const __m512i parts = _mm512_permutexvar_epi32(turn, _mm512_maskz_loadu_epi32(0x0fff, p));
    const auto pick = [&](__m128i lanes) { return _mm512_shuffle_epi8(parts, _mm512_broadcast_i32x4(lanes)); };
#else
    const __m256i turn = _mm256_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5),
                  mask = _mm256_setr_epi32(-1, -1, -1, -1, -1, -1, 0, 0);
    const __m256i loaded = _mm256_maskload_epi32(reinterpret_cast<const int*>(p), mask);
    const __m256i parts = _mm256_permutevar8x32_epi32(loaded, turn);
    const auto pick = [&](__m128i lanes) { return _mm256_shuffle_epi8(parts, _mm256_broadcastsi128_si256(lanes)); };
#endif
    channels[0] = bitcast<Bits>(pick(_mm_setr_epi8(0, z, z, z, 3, z, z, z, 6, z, z, z, 9, z, z, z)));
    channels[1] = bitcast<Bits>(pick(_mm_setr_epi8(1, z, z, z, 4, z, z, z, 7, z, z, z, 10, z, z, z)));
    channels[2] = bitcast<Bits>(pick(_mm_setr_epi8(2, z, z, z, 5, z, z, z, 8, z, z, z, 11, z, z, z)));
#else
    for (int c = 0; c < 3; ++c) channels[c] = Bits{p[c], p[c + 3], p[c + 6], p[c + 9]};
#endif
}

// Small unsigned integers as floats.
inline Vec<float> to_float(Bits bits) { return __builtin_convertvector(bitcast<Vec<std::int32_t>>(bits), Vec<float>); }

// With an explicit source, because an undefined one would make each gather wait for the last.
inline Vec<float> gather(const float* table, Bits indices) {
#if defined(__AVX512F__)
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, bitcast<__m512i>(indices), table, sizeof(float));
#elif defined(__AVX2__)
    const __m256 all = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), table, bitcast<__m256i>(indices), all, sizeof(float));
#else
    return Vec<float>{table[indices[0]], table[indices[1]], table[indices[2]], table[indices[3]]};
#endif
}

}  // namespace pyemo::PYEMO_ISA::simd
