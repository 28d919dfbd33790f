#pragma once

#include <cstddef>

#include "spectrogram/fft_tables.h"

namespace pyemo::spectrogram {

// What a frame goes through. With `packed` (n_fft even), the transform of n_fft real samples is one of n_fft / 2
// complex numbers, and `window` holds half the window, because the step that takes the spectrum apart doubles it.
template <class T>
struct Tables {
    int n_fft;
    bool packed;
    int bins;  // of the spectrum, n_fft / 2 + 1
    FftTables<T> fft;
    const T* window;
    const T* roots;  // packed: e^(-2 pi i k / n_fft) for k <= n_fft / 4, real and imaginary part in turn

    double power;

    // Filter m is the weighted sum of filter_length[m] bins from filter_begin[m] on; the weights of all filters lie one
    // after the other. Null without filters.
    int filters;
    const int* filter_begin;
    const int* filter_length;
    const T* weights;

    T log_scale;  // of the logarithm to base two; 0 for none
    T amin;

    int rows() const { return filter_begin ? filters : bins; }
    // Vectors of the work array.
    std::ptrdiff_t forward_work() const { return 2 * std::ptrdiff_t{fft.work_size()} + bins; }
    std::ptrdiff_t backward_work() const {
        return forward_work() + 3 * std::ptrdiff_t{bins} + 2 * std::ptrdiff_t{fft.n};
    }
};

// Samples of many frames, so laid out that one sample of neighbouring frames is a vector: sample n of frame f is at
// data[offset[n] + f].
template <class T>
struct Frames {
    T* data;
    const int* offset;
};

template <class T>
struct Kernels {
    int lanes;

    // data[r * stride + c] = line[c * step + r] for r < rows, c < columns.
    void (*transpose)(const T* line, std::ptrdiff_t step, int rows, int columns, T* data, std::ptrdiff_t stride);

    // The first count frames, rounded up to whole vectors. Row m of frame f goes to result[m * stride + f].
    void (*forward)(const Tables<T>& tables, Frames<T> frames, int count, T* result, std::ptrdiff_t stride, T* work);

    // Adds the gradient of the samples to that of `frames`, given that of the result.
    void (*backward)(const Tables<T>& tables, Frames<T> frames, int count, const T* grad_result, std::ptrdiff_t stride,
                     Frames<T> grad_frames, T* work);

    // target[r * target_stride + c] = source[r * source_stride + c], past the caches where the machine can.
    void (*stream)(const T* source, std::ptrdiff_t source_stride, int rows, int columns, T* target,
                   std::ptrdiff_t target_stride);

    // Raises values to `range` below the largest. All become NaN if one of them is.
    void (*limit_range)(T* values, std::ptrdiff_t count, T range);

    // What silence gives.
    T (*silence)(const Tables<T>& tables);
};

struct KernelTable {
    Kernels<float> float32;
    Kernels<double> float64;
};

template <class T>
const Kernels<T>& of_type(const KernelTable& table);
template <>
inline const Kernels<float>& of_type(const KernelTable& table) {
    return table.float32;
}
template <>
inline const Kernels<double>& of_type(const KernelTable& table) {
    return table.float64;
}

}  // namespace pyemo::spectrogram
