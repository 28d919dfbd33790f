// The Fourier transform of vectors, each lane of which is a signal of its own, so that nothing is moved between lanes.
// For kernel sources only, like simd.h. Complex number i of an array is its vectors 2i (real part) and 2i + 1.
#pragma once

#include "common/simd.h"
#include "spectrogram/fft_tables.h"

namespace pyemo::PYEMO_ISA {

using spectrogram::FftTables;

// Compilers would call a large butterfly, and pass its numbers through memory.
#define PYEMO_ALWAYS_INLINE inline __attribute__((always_inline))

template <class T>
struct Complex {
    simd::Vec<T> re, im;

    Complex operator+(Complex z) const { return {re + z.re, im + z.im}; }
    Complex operator-(Complex z) const { return {re - z.re, im - z.im}; }
    Complex times(const T* factor) const { return {re * factor[0] - im * factor[1], re * factor[1] + im * factor[0]}; }
    Complex times_i() const { return {-im, re}; }
    Complex conjugate() const { return {re, -im}; }
    Complex swapped() const { return {im, re}; }
};

template <class T>
PYEMO_ALWAYS_INLINE Complex<T> load_number(const T* array, int index) {
    const T* p = array + std::ptrdiff_t{index} * 2 * simd::kLanes<T>;
    return {simd::load(p), simd::load(p + simd::kLanes<T>)};
}

template <class T>
PYEMO_ALWAYS_INLINE void store_number(T* array, int index, Complex<T> z) {
    T* p = array + std::ptrdiff_t{index} * 2 * simd::kLanes<T>;
    simd::store(p, z.re);
    simd::store(p + simd::kLanes<T>, z.im);
}

// x[q] becomes the sum over p of x[p] e^(-2 pi i p q / radix).
template <class T>
PYEMO_ALWAYS_INLINE void butterfly(Complex<T> (&x)[2]) {
    const Complex<T> a = x[0], b = x[1];
    x[0] = a + b;
    x[1] = a - b;
}

template <class T>
PYEMO_ALWAYS_INLINE void butterfly(Complex<T> (&x)[3]) {
    constexpr T kSin = T(0.866025403784438646763723170752936183);  // of 2 pi / 3
    const Complex<T> sum = x[1] + x[2], difference = x[1] - x[2];
    const Complex<T> middle{x[0].re - T(0.5) * sum.re, x[0].im - T(0.5) * sum.im};
    const Complex<T> turned{kSin * difference.im, -kSin * difference.re};
    x[0] = x[0] + sum;
    x[1] = middle + turned;
    x[2] = middle - turned;
}

template <class T>
PYEMO_ALWAYS_INLINE void butterfly(Complex<T> (&x)[4]) {
    const Complex<T> a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = (x[1] - x[3]).times_i();
    x[0] = a + c;
    x[1] = b - d;
    x[2] = a - c;
    x[3] = b + d;
}

template <class T>
PYEMO_ALWAYS_INLINE void butterfly(Complex<T> (&x)[5]) {
    // Cosine and sine of 2 pi / 5 and 4 pi / 5.
    constexpr T kCos1 = T(0.309016994374947424102293417182819059), kCos2 = T(-0.809016994374947424102293417182819059);
    constexpr T kSin1 = T(0.951056516295153572116439333379382143), kSin2 = T(0.587785252292473129168705954639072769);
    const Complex<T> a = x[1] + x[4], b = x[1] - x[4], c = x[2] + x[3], d = x[2] - x[3];
    const Complex<T> p{x[0].re + kCos1 * a.re + kCos2 * c.re, x[0].im + kCos1 * a.im + kCos2 * c.im};
    const Complex<T> q{x[0].re + kCos2 * a.re + kCos1 * c.re, x[0].im + kCos2 * a.im + kCos1 * c.im};
    const Complex<T> r{kSin1 * b.im + kSin2 * d.im, -(kSin1 * b.re + kSin2 * d.re)};
    const Complex<T> s{kSin2 * b.im - kSin1 * d.im, kSin1 * d.re - kSin2 * b.re};
    x[0] = x[0] + a + c;
    x[1] = p + r;
    x[2] = q + s;
    x[3] = q - s;
    x[4] = p - r;
}

template <class T>
PYEMO_ALWAYS_INLINE void butterfly(Complex<T> (&x)[8]) {
    constexpr T kHalfSqrt2 = T(0.707106781186547524400844362104849039);
    Complex<T> even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
    butterfly(even);
    butterfly(odd);
    // Odd outputs times e^(-pi i k / 4); the factor sqrt(1/2) of the first and third goes into the sum.
    const Complex<T> first{odd[1].re + odd[1].im, odd[1].im - odd[1].re};
    const Complex<T> second{odd[2].im, -odd[2].re};
    const Complex<T> third{odd[3].im - odd[3].re, -(odd[3].re + odd[3].im)};
    x[0] = even[0] + odd[0];
    x[4] = even[0] - odd[0];
    x[1] = {even[1].re + kHalfSqrt2 * first.re, even[1].im + kHalfSqrt2 * first.im};
    x[5] = {even[1].re - kHalfSqrt2 * first.re, even[1].im - kHalfSqrt2 * first.im};
    x[2] = even[2] + second;
    x[6] = even[2] - second;
    x[3] = {even[3].re + kHalfSqrt2 * third.re, even[3].im + kHalfSqrt2 * third.im};
    x[7] = {even[3].re - kHalfSqrt2 * third.re, even[3].im - kHalfSqrt2 * third.im};
}

// One pass over a block; number(i) is its input.
template <int kRadix, bool kTwiddles, class T, class Number>
PYEMO_ALWAYS_INLINE void run_butterflies(const Number& number, T* block, int butterflies, const T* twiddles) {
    for (int j = 0; j < butterflies; ++j) {
        Complex<T> x[kRadix];
        for (int p = 0; p < kRadix; ++p) x[p] = number(j + p * butterflies);
        butterfly(x);
        store_number(block, j, x[0]);
        for (int q = 1; q < kRadix; ++q) {
            if constexpr (kTwiddles) x[q] = x[q].times(twiddles + 2 * (q - 1));
            store_number(block, j + q * butterflies, x[q]);
        }
        if constexpr (kTwiddles) twiddles += 2 * (kRadix - 1);
    }
}

template <int kRadix, class T, class Number>
PYEMO_ALWAYS_INLINE void run_radix(const Number& number, T* block, int size, const T* twiddles) {
    if (twiddles) {
        run_butterflies<kRadix, true>(number, block, size / kRadix, twiddles);
    } else {
        run_butterflies<kRadix, false>(number, block, size / kRadix, twiddles);
    }
}

template <class T, class Number>
PYEMO_ALWAYS_INLINE void run_pass(typename FftTables<T>::Pass pass, const Number& number, T* block, int size) {
    switch (pass.radix) {
        case 2:
            return run_radix<2>(number, block, size, pass.twiddles);
        case 3:
            return run_radix<3>(number, block, size, pass.twiddles);
        case 4:
            return run_radix<4>(number, block, size, pass.twiddles);
        case 5:
            return run_radix<5>(number, block, size, pass.twiddles);
        case 8:
            return run_radix<8>(number, block, size, pass.twiddles);
    }
}

constexpr int kCachedBytes = 1 << 15;  // what surely stays in the first-level cache

// The passes from `pass` on, over neighbouring blocks. What the first-level cache cannot hold is finished block by
// block.
template <class T>
void run_passes(const FftTables<T>& fft, int pass, T* blocks, int count, int size) {
    if (pass == fft.passes) return;
    const bool cached = std::int64_t{count} * size * 2 * simd::kVectorBytes <= kCachedBytes;
    const int radix = fft.pass[pass].radix;
    for (int b = 0; b < count; ++b) {
        T* block = blocks + std::ptrdiff_t{b} * size * 2 * simd::kLanes<T>;
        run_pass<T>(fft.pass[pass], [block](int i) { return load_number(block, i); }, block, size);
        if (!cached) run_passes(fft, pass + 1, block, radix, size / radix);
    }
    if (cached) run_passes(fft, pass + 1, blocks, count * radix, size / radix);
}

template <class T, class Number>
void transform_by_passes(const FftTables<T>& fft, const Number& number, T* work) {
    if (fft.passes == 0) return store_number(work, 0, number(0));
    const int radix = fft.pass[0].radix;
    run_pass<T>(fft.pass[0], number, work, fft.n);
    run_passes(fft, 1, work, radix, fft.n / radix);
}

// Transforms number(0), ..., number(n - 1); the result lies in `work` (FftTables::work_size() numbers).
template <class T, class Number>
void transform(const FftTables<T>& fft, const Number& number, T* work) {
    if (!fft.convolution) return transform_by_passes(fft, number, work);
    const FftTables<T>& convolution = *fft.convolution;
    T* product = work + std::ptrdiff_t{convolution.n} * 2 * simd::kLanes<T>;
    transform_by_passes(
        convolution, [&](int i) { return i < fft.n ? number(i).times(fft.chirp + 2 * i) : Complex<T>{}; }, work);
    // Real and imaginary parts swapped before and after, the transform is its own inverse but for the factor 1 / n.
    transform_by_passes(
        convolution,
        [&](int i) { return load_number(work, convolution.position[i]).times(fft.chirp_spectrum + 2 * i).swapped(); },
        product);
    for (int k = 0; k < fft.n; ++k) {
        const Complex<T> sum = load_number(product, convolution.position[k]).swapped();
        store_number(work, k, sum.times(fft.chirp + 2 * k));
    }
}

}  // namespace pyemo::PYEMO_ISA
