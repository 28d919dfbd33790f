// The Fourier transform of a frame in shared memory, by a group of threads. For CUDA sources only.
#pragma once

#include "common/cuda/device.cuh"
#include "spectrogram/cuda/kernels.h"

namespace pyemo::spectrogram::cuda {

using namespace pyemo::cuda;

template <class T>
struct alignas(2 * sizeof(T)) Complex {
    T re, im;

    __device__ __forceinline__ Complex operator+(Complex z) const { return {re + z.re, im + z.im}; }
    __device__ __forceinline__ Complex operator-(Complex z) const { return {re - z.re, im - z.im}; }
    __device__ __forceinline__ Complex operator*(Complex z) const {
        return {re * z.re - im * z.im, re * z.im + im * z.re};
    }
    __device__ __forceinline__ Complex operator*(T factor) const { return {re * factor, im * factor}; }
    __device__ __forceinline__ Complex times_i() const { return {-im, re}; }
    __device__ __forceinline__ Complex conjugate() const { return {re, -im}; }
    __device__ __forceinline__ Complex swapped() const { return {im, re}; }
    __device__ __forceinline__ T square() const { return re * re + im * im; }
};

// x[q] becomes the sum over p of x[p] e^(-2 pi i p q / radix).
template <class T>
__device__ __forceinline__ void butterfly(Complex<T> (&x)[2]) {
    const Complex<T> a = x[0], b = x[1];
    x[0] = a + b, x[1] = a - b;
}

template <class T>
__device__ __forceinline__ void butterfly(Complex<T> (&x)[3]) {
    const T sine = T(0.866025403784438646763723170752936183);  // of 2 pi / 3
    const Complex<T> sum = x[1] + x[2], middle = x[0] - sum * T(0.5), turned = (x[2] - x[1]).times_i() * sine;
    x[0] = x[0] + sum, x[1] = middle + turned, x[2] = middle - turned;
}

template <class T>
__device__ __forceinline__ void butterfly(Complex<T> (&x)[4]) {
    const Complex<T> a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = (x[1] - x[3]).times_i();
    x[0] = a + c, x[1] = b - d, x[2] = a - c, x[3] = b + d;
}

template <class T>
__device__ __forceinline__ void butterfly(Complex<T> (&x)[5]) {
    // Cosines and sines of 2 pi / 5 and 4 pi / 5.
    const T cos1 = T(0.309016994374947424102293417182819059), cos2 = T(-0.809016994374947424102293417182819059);
    const T sin1 = T(0.951056516295153572116439333379382143), sin2 = T(0.587785252292473129168705954639072769);
    const Complex<T> a = x[1] + x[4], b = x[4] - x[1], c = x[2] + x[3], d = x[3] - x[2];
    const Complex<T> p = x[0] + a * cos1 + c * cos2, q = x[0] + a * cos2 + c * cos1;
    const Complex<T> r = (b * sin1 + d * sin2).times_i(), s = (b * sin2 - d * sin1).times_i();
    x[0] = x[0] + a + c, x[1] = p + r, x[2] = q + s, x[3] = q - s, x[4] = p - r;
}

template <class T>
__device__ __forceinline__ void butterfly(Complex<T> (&x)[8]) {
    const T half_root = T(0.707106781186547524400844362104849039);  // of 2
    Complex<T> even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
    butterfly(even);
    butterfly(odd);
    odd[1] = Complex<T>{odd[1].re + odd[1].im, odd[1].im - odd[1].re} * half_root;
    odd[2] = {odd[2].im, -odd[2].re};
    odd[3] = Complex<T>{odd[3].im - odd[3].re, -(odd[3].re + odd[3].im)} * half_root;
#pragma unroll
    for (int q = 0; q < 4; ++q) x[q] = even[q] + odd[q], x[q + 4] = even[q] - odd[q];
}

// The threads that work on one frame: `size` of them, a warp at least. All groups of a block do the same.
struct Group {
    int size, index, thread;  // the thread's own number in its group

    __device__ __forceinline__ explicit Group(int size)
        : size(size), index(threadIdx.x / size), thread(threadIdx.x % size) {}
    __device__ __forceinline__ void wait() const {
        if (size <= kWarp) {
            __syncwarp();
        } else {
            __syncthreads();
        }
    }
};

// One pass of butterflies; number(i) is its input, in place but for the first.
template <int kRadix, class T, class Number>
__device__ __forceinline__ void run_pass(const Group& group, int n, int size, const T* twiddles, const Number& number,
                                         Complex<T>* work) {
    const int butterflies = size / kRadix;
    for (int b = group.thread; b < n / kRadix; b += group.size) {
        const int block = b / butterflies, j = b - block * butterflies, base = block * size + j;
        Complex<T> x[kRadix];
#pragma unroll
        for (int p = 0; p < kRadix; ++p) x[p] = number(base + p * butterflies);
        butterfly(x);
        work[padded(base)] = x[0];
#pragma unroll
        for (int q = 1; q < kRadix; ++q) {
            if (twiddles) x[q] = x[q] * reinterpret_cast<const Complex<T>*>(twiddles)[(q - 1) * butterflies + j];
            work[padded(base + q * butterflies)] = x[q];
        }
    }
}

template <class T, class Number>
__device__ __forceinline__ void run_radix(const Group& group, const Tables<T>& tables, int pass, int size,
                                          const Number& number, Complex<T>* work) {
    const T* twiddles = tables.twiddles[pass];
    switch (tables.radix[pass]) {
        case 2:
            return run_pass<2>(group, tables.n, size, twiddles, number, work);
        case 3:
            return run_pass<3>(group, tables.n, size, twiddles, number, work);
        case 4:
            return run_pass<4>(group, tables.n, size, twiddles, number, work);
        case 5:
            return run_pass<5>(group, tables.n, size, twiddles, number, work);
        default:
            return run_pass<8>(group, tables.n, size, twiddles, number, work);
    }
}

// Transforms what lies in `work`, number i at padded(i); X[k] ends at padded(position[k]). Waits before and after.
template <class T>
__device__ __forceinline__ void transform(const Group& group, const Tables<T>& tables, Complex<T>* work) {
    group.wait();
    int size = tables.n;
    for (int pass = 0; pass < tables.passes; ++pass) {
        run_radix(group, tables, pass, size, [work](int i) { return work[padded(i)]; }, work);
        size /= tables.radix[pass];
        group.wait();
    }
}

// A frame of a waveform.
template <class T>
struct Frame {
    const Work<T>& work;
    const char* data;    // of the waveform
    std::int64_t begin;  // of the frame in the waveform, maybe before it
    bool inside;         // whether all samples exist

    __device__ __forceinline__ Frame(const Work<T>& work, const char* data, std::int64_t frame)
        : work(work), data(data), begin(frame * work.hop - work.padding) {
        inside = begin >= 0 && begin + work.tables.n_fft <= work.samples;
    }
    __device__ __forceinline__ T sample(int n) const {
        std::int64_t i = begin + n;
        if (!inside) {
            i = origin_of(i, work.samples, work.mode);
            if (i < 0) return 0;
        }
        const char* from = data + i * work.sample_stride;
        T value;
        if (work.dtype == DType::int16) {
            value = static_cast<T>(*reinterpret_cast<const std::int16_t*>(from)) * T(1.0 / 32768);
        } else {
            value = *reinterpret_cast<const T*>(from);
        }
        return value * work.tables.window[n];
    }
    // Into shared memory, to be transformed. Packed, the spectrum would come out doubled.
    __device__ __forceinline__ void lay_out(const Group& group, Complex<T>* numbers) const {
        for (int i = group.thread; i < work.tables.n; i += group.size) {
            numbers[padded(i)] = work.tables.packed ? Complex<T>{sample(2 * i) * T(0.5), sample(2 * i + 1) * T(0.5)}
                                                    : Complex<T>{sample(i), T(0)};
        }
    }
};

// Calls bin(k, X[k]) for the spectrum of what has been transformed.
template <class T, class Bin>
__device__ __forceinline__ void spectrum(const Group& group, const Tables<T>& tables, const Complex<T>* work,
                                         const Bin& bin) {
    const auto number = [&](int k) { return work[padded(tables.position[k])]; };
    if (!tables.packed) {
        for (int k = group.thread; k < tables.bins; k += group.size) bin(k, number(k));
        return;
    }
    const int n = tables.n;
    for (int k = group.thread; k <= n / 2; k += group.size) {
        if (k == 0) {
            const Complex<T> zero = number(0);
            bin(0, Complex<T>{T(2) * (zero.re + zero.im), T(0)});
            bin(n, Complex<T>{T(2) * (zero.re - zero.im), T(0)});
        } else if (2 * k == n) {
            const Complex<T> middle = number(k);
            bin(k, Complex<T>{T(2) * middle.re, T(-2) * middle.im});
        } else {
            const Complex<T> x = number(k), y = number(n - k).conjugate(), even = x + y;
            const Complex<T> odd = (y - x).times_i() * reinterpret_cast<const Complex<T>*>(tables.roots)[k];
            bin(k, even + odd);
            bin(n - k, (even - odd).conjugate());
        }
    }
}

// |X|^power from |X|^2.
__device__ __forceinline__ float raised(double power, float square) {
    return power == 2 ? square : power == 1 ? sqrtf(square) : powf(square, static_cast<float>(power / 2));
}
__device__ __forceinline__ double raised(double power, double square) {
    return power == 2 ? square : power == 1 ? sqrt(square) : pow(square, power / 2);
}

__device__ __forceinline__ float log2_of(float x) { return log2f(x); }
__device__ __forceinline__ double log2_of(double x) { return log2(x); }

template <class T>
__device__ __forceinline__ T logarithm(const Tables<T>& tables, T x) {
    return tables.log_scale != 0 ? log2_of(x < tables.amin ? tables.amin : x) * tables.log_scale : x;
}

// Where a waveform begins.
template <class T>
__device__ __forceinline__ const char* waveform_at(const Work<T>& work, std::int64_t index) {
    const char* data = work.waveform;
    for (int d = work.loops - 1; d >= 0; --d) {
        data += index % work.sizes[d] * work.strides[d];
        index /= work.sizes[d];
    }
    return data;
}

// The slices that hold a frame: [begin, end).
template <class T>
struct SlicesOf {
    std::int64_t begin, end;

    __device__ __forceinline__ SlicesOf(const Work<T>& work, std::int64_t frame) {
        const std::int64_t late = frame - work.slice_frames + 1;
        begin = late <= 0 ? 0 : (late + work.slice_hop - 1) / work.slice_hop;
        end = frame / work.slice_hop + 1;
        if (end > work.slices) end = work.slices;
    }
};

}  // namespace pyemo::spectrogram::cuda
