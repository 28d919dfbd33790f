#include "spectrogram/kernels.h"

#include "common/simd_math.h"
#include "spectrogram/fft.h"
#include "spectrogram/vectors.h"

namespace pyemo::PYEMO_ISA {

namespace {

using namespace simd;
using spectrogram::Frames, spectrogram::Tables;

// Calls bin(k, X[k]) for the spectrum of the frames in the lanes, in no particular order.
template <class T, class Bin>
inline void spectrum(const Tables<T>& tables, Frames<T> frames, T* work, const Bin& bin) {
    const int* offset = frames.offset;
    const auto sample = [&](int n) { return load(frames.data + offset[n]) * tables.window[n]; };
    const int* position = tables.fft.position;
    if (!tables.packed) {
        transform<T>(tables.fft, [&](int i) { return Complex<T>{sample(i), Vec<T>{}}; }, work);
        for (int k = 0; k < tables.bins; ++k) bin(k, load_number(work, position[k]));
        return;
    }
    transform<T>(tables.fft, [&](int i) { return Complex<T>{sample(2 * i), sample(2 * i + 1)}; }, work);
    const int n = tables.fft.n;
    const Complex<T> zero = load_number(work, 0);
    bin(0, {T(2) * (zero.re + zero.im), Vec<T>{}});
    bin(n, {T(2) * (zero.re - zero.im), Vec<T>{}});
    for (int k = 1; k < n - k; ++k) {
        const Complex<T> x = load_number(work, position[k]), y = load_number(work, position[n - k]).conjugate();
        const Complex<T> difference = y - x, even = x + y, odd = difference.times_i().times(tables.roots + 2 * k);
        bin(k, even + odd);
        bin(n - k, (even - odd).conjugate());
    }
    if (n % 2 == 0 && n > 1) {
        const Complex<T> middle = load_number(work, position[n / 2]);
        bin(n / 2, {T(2) * middle.re, T(-2) * middle.im});
    }
}

// |X|^power from |X|^2.
template <class T>
inline void take_power(double power, T* squares, int count) {
    if (power == 2) return;
    for (int k = 0; k < count; ++k) {
        T* p = squares + k * kLanes<T>;
        store(p, power == 1 ? square_root<T>(load(p)) : raised<T>(load(p), T(power / 2)));
    }
}

template <int kLength, class T>
PYEMO_ALWAYS_INLINE Vec<T> filtered_by(const T* bins, const T* weights) {
    Vec<T> sum = load(bins) * weights[0];
    for (int i = 1; i < kLength; ++i) sum += load(bins + i * kLanes<T>) * weights[i];
    return sum;
}

// The weighted sum of neighbouring bins. Most filters are short, and loops of few and varying turns are slow.
template <class T>
PYEMO_ALWAYS_INLINE Vec<T> filtered(const T* bins, const T* weights, int length) {
    Vec<T> sum{};
    for (; length >= 8; length -= 8, weights += 8, bins += 8 * kLanes<T>) sum += filtered_by<8>(bins, weights);
    switch (length) {
        case 1:
            return sum + filtered_by<1>(bins, weights);
        case 2:
            return sum + filtered_by<2>(bins, weights);
        case 3:
            return sum + filtered_by<3>(bins, weights);
        case 4:
            return sum + filtered_by<4>(bins, weights);
        case 5:
            return sum + filtered_by<5>(bins, weights);
        case 6:
            return sum + filtered_by<6>(bins, weights);
        case 7:
            return sum + filtered_by<7>(bins, weights);
    }
    return sum;
}

template <class T>
inline Vec<T> logarithm(const Tables<T>& tables, Vec<T> x) {
    return tables.log_scale != 0 ? log2<T>(at_least<T>(x, tables.amin)) * tables.log_scale : x;
}

template <class T>
void forward(const Tables<T>& tables, Frames<T> frames, int count, T* result, std::ptrdiff_t stride, T* work) {
    T* powers = work + 2 * std::ptrdiff_t{tables.fft.work_size()} * kLanes<T>;
    for (int f = 0; f < count; f += kLanes<T>) {
        spectrum<T>(tables, {frames.data + f, frames.offset}, work,
                    [&](int k, Complex<T> x) { store(powers + k * kLanes<T>, x.re * x.re + x.im * x.im); });
        take_power(tables.power, powers, tables.bins);
        if (!tables.filter_begin) {
            for (int k = 0; k < tables.bins; ++k) {
                store(result + k * stride + f, logarithm(tables, load(powers + k * kLanes<T>)));
            }
            continue;
        }
        const T* weights = tables.weights;
        for (int m = 0; m < tables.filters; ++m) {
            const int length = tables.filter_length[m];
            const Vec<T> sum = filtered<T>(powers + tables.filter_begin[m] * kLanes<T>, weights, length);
            store(result + m * stride + f, logarithm(tables, sum));
            weights += length;
        }
    }
}

// The gradient of a value before its logarithm.
template <class T>
inline Vec<T> before_logarithm(const Tables<T>& tables, Vec<T> value, Vec<T> grad) {
    if (tables.log_scale == 0) return grad;
    return value >= tables.amin ? grad * (tables.log_scale / T(kLn2)) / value : Vec<T>{};
}

// From the gradient of |X|^power to that of |X|^2, times two.
template <class T>
inline Vec<T> before_power(double power, Vec<T> square, Vec<T> value, Vec<T> grad) {
    if (power == 2) return grad * T(2);
    return square > T(0) ? grad * T(power) * value / square : square * T(0);
}

// The adjoint of spectrum(): from the gradient of each X[k] to that of the samples, which is added to `frames`.
template <class T>
inline void add_spectrum_gradient(const Tables<T>& tables, const T* grad, Frames<T> frames, T* numbers, T* work) {
    const int n = tables.fft.n;
    // Swapped parts turn the transform into its adjoint.
    const auto put = [&](int i, Complex<T> z) { store_number(numbers, i, z.swapped()); };
    if (tables.packed) {
        const Vec<T> first = load_number(grad, 0).re, last = load_number(grad, n).re;
        put(0, {T(2) * (first + last), T(2) * (first - last)});
        for (int k = 1; k < n - k; ++k) {
            const Complex<T> x = load_number(grad, k), y = load_number(grad, n - k).conjugate();
            const T root[2] = {tables.roots[2 * k], -tables.roots[2 * k + 1]};
            const Complex<T> even = x + y, odd = (x - y).times(root).times_i();
            put(k, even + odd);
            put(n - k, (even - odd).conjugate());
        }
        if (n % 2 == 0 && n > 1) {
            const Complex<T> middle = load_number(grad, n / 2);
            put(n / 2, {T(2) * middle.re, T(-2) * middle.im});
        }
    } else {
        for (int k = 0; k < n; ++k) put(k, k < tables.bins ? load_number(grad, k) : Complex<T>{});
    }
    transform<T>(tables.fft, [&](int i) { return load_number(numbers, i); }, work);

    const auto add = [&](int i, Vec<T> value) {
        T* p = frames.data + frames.offset[i];
        store(p, load(p) + value * tables.window[i]);
    };
    for (int i = 0; i < n; ++i) {
        const Complex<T> z = load_number(work, tables.fft.position[i]).swapped();
        if (tables.packed) {
            add(2 * i, z.re);
            add(2 * i + 1, z.im);
        } else {
            add(i, z.re);
        }
    }
}

template <class T>
void backward(const Tables<T>& tables, Frames<T> frames, int count, const T* grad_result, std::ptrdiff_t stride,
              Frames<T> grad_frames, T* work) {
    const std::ptrdiff_t bins = std::ptrdiff_t{tables.bins} * kLanes<T>;
    T* powers = work + 2 * std::ptrdiff_t{tables.fft.work_size()} * kLanes<T>;
    T* grad_powers = powers + bins;
    T* spectra = grad_powers + bins;
    T* numbers = spectra + 2 * bins;
    const auto square = [&](int k) {
        const Complex<T> x = load_number(spectra, k);
        return x.re * x.re + x.im * x.im;
    };
    for (int f = 0; f < count; f += kLanes<T>) {
        spectrum<T>(tables, {frames.data + f, frames.offset}, work,
                    [&](int k, Complex<T> x) { store_number(spectra, k, x); });
        for (int k = 0; k < tables.bins; ++k) store(powers + k * kLanes<T>, square(k));
        take_power(tables.power, powers, tables.bins);

        const auto grad = [&](int row, Vec<T> value) {
            return before_logarithm(tables, value, load(grad_result + row * stride + f));
        };
        if (!tables.filter_begin) {
            for (int k = 0; k < tables.bins; ++k) {
                store(grad_powers + k * kLanes<T>, grad(k, load(powers + k * kLanes<T>)));
            }
        } else {
            for (int k = 0; k < tables.bins; ++k) store(grad_powers + k * kLanes<T>, Vec<T>{});
            const T* weights = tables.weights;
            for (int m = 0; m < tables.filters; ++m) {
                const int begin = tables.filter_begin[m], length = tables.filter_length[m];
                const Vec<T> g = grad(m, filtered<T>(powers + begin * kLanes<T>, weights, length));
                for (int i = 0; i < length; ++i) {
                    T* p = grad_powers + (begin + i) * kLanes<T>;
                    store(p, load(p) + g * weights[i]);
                }
                weights += length;
            }
        }
        for (int k = 0; k < tables.bins; ++k) {
            const Vec<T> factor = before_power<T>(tables.power, square(k), load(powers + k * kLanes<T>),
                                                  load(grad_powers + k * kLanes<T>));
            const Complex<T> x = load_number(spectra, k);
            store_number(spectra, k, Complex<T>{x.re * factor, x.im * factor});
        }
        add_spectrum_gradient<T>(tables, spectra, {grad_frames.data + f, grad_frames.offset}, numbers, work);
    }
}

template <class T>
void transpose(const T* line, std::ptrdiff_t step, int rows, int columns, T* data, std::ptrdiff_t stride) {
    constexpr int n = kLanes<T>;
    int done = 0;  // columns
    if (rows >= n) {
        for (; done + n <= columns; done += n) {
            for (int start = 0; start < rows; start += n) {
                const int r = start + n <= rows ? start : rows - n;  // the last block overlaps the one before
                transpose_block(line + done * step + r, step, data + r * stride + done, stride);
            }
        }
    }
    for (int r = 0; r < rows; ++r) {
        for (int c = done; c < columns; ++c) data[r * stride + c] = line[c * step + r];
    }
}

template <class T>
void stream(const T* source, std::ptrdiff_t source_stride, int rows, int columns, T* target,
            std::ptrdiff_t target_stride) {
    for (int r = 0; r < rows; ++r, source += source_stride, target += target_stride) {
        int c = 0;
        for (; c < columns && reinterpret_cast<std::uintptr_t>(target + c) % kVectorBytes != 0; ++c)
            target[c] = source[c];
        for (; c + kLanes<T> <= columns; c += kLanes<T>) stream_aligned<T>(target + c, load(source + c));
        for (; c < columns; ++c) target[c] = source[c];
    }
    finish_streaming();
}

template <class T>
void limit_range(T* values, std::ptrdiff_t count, T range) {
    // A NaN becomes the largest value and stays it.
    const auto larger = [](auto a, auto b) { return b > a || b != b ? b : a; };
    const std::ptrdiff_t whole = count - count % kLanes<T>;
    Vec<T> lanes = broadcast<T>(values[0]);
    for (std::ptrdiff_t i = 0; i < whole; i += kLanes<T>) {
        const Vec<T> v = load(values + i);
        lanes = (v > lanes) | (v != v) ? v : lanes;
    }
    T largest = values[0];
    for (int i = 0; i < kLanes<T>; ++i) largest = larger(largest, lanes[i]);
    for (std::ptrdiff_t i = whole; i < count; ++i) largest = larger(largest, values[i]);

    const T low = largest - range;
    for (std::ptrdiff_t i = 0; i < count; ++i) values[i] = values[i] > low ? values[i] : low;
}

template <class T>
T silence(const Tables<T>& tables) {
    return logarithm(tables, Vec<T>{})[0];
}

template <class T>
constexpr spectrogram::Kernels<T> make_kernels() {
    return {kLanes<T>, transpose<T>, forward<T>, backward<T>, stream<T>, limit_range<T>, silence<T>};
}

}  // namespace

const spectrogram::KernelTable& spectrogram_kernels() {
    static constexpr spectrogram::KernelTable kTable{make_kernels<float>(), make_kernels<double>()};
    return kTable;
}

}  // namespace pyemo::PYEMO_ISA
