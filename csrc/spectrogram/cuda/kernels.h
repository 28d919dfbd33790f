// The CUDA kernels of spectrogram slices, as the host code sees them.
#pragma once

#include "common/cuda/launch.h"
#include "common/dtype.h"
#include "spectrogram/fft_tables.h"
#include "spectrogram/origin.h"

namespace pyemo::spectrogram::cuda {

using pyemo::cuda::Queue;

constexpr int kThreads = 256;
constexpr int kMostLoops = 16;  // of leading dimensions of the waveform

// What a frame goes through: spectrogram::Tables, on the device.
template <class T>
struct Tables {
    int n_fft, n, bins, rows, passes;
    bool packed;
    int radix[kMaxPasses];
    // For each of a pass's outputs 1 to radix - 1 the factors of all butterflies of a block, real and imaginary part in
    // turn; null in the last pass, which has none.
    const T* twiddles[kMaxPasses];
    const int* position;
    const T* roots;
    const T* window;
    double power;
    // Filters as spectrogram::Tables has them, and where their weights begin; null without filters. Of each bin, the
    // filters that weigh it and their weights are those from column_begin[bin] to column_begin[bin + 1].
    const int *filter_begin, *filter_length, *filter_weights;
    const T* weights;
    const int *column_begin, *column_filters;
    const T* column_weights;
    T log_scale, amin;
};

// Numbers of one frame are a little further apart than they are large, so that butterflies' are in different banks.
PYEMO_HOST_DEVICE inline int padded(int index) { return index + index / 8; }

template <class T>
struct Work {
    Tables<T> tables;
    const char* waveform;
    DType dtype;
    int loops;  // of the leading dimensions, innermost last
    std::int64_t sizes[kMostLoops];
    std::ptrdiff_t strides[kMostLoops], sample_stride;  // bytes
    std::int64_t waveforms, samples, padding, frames, hop;
    Padding mode;
    std::int64_t slices, slice_frames, slice_hop;
    bool apart;            // whether slices have no frame in common: only their own frames are worked on
    std::int64_t columns;  // of frames that are worked on, those beyond the last among them
    int group;             // threads that work on a frame together
    int chunk;             // frames that a block works on: a power of two, at most 32
    T* output;             // or, backwards, its gradient
    // Backwards: samples that a block sums up, of the waveform with its padding; and the gradients of padding and
    // waveform.
    int span;
    T *edges, *grad_waveform;
};

template <class T>
struct Range {
    T* values;
    std::int64_t slices, size;
    T range;
};

template <class T>
void launch_forward(const Queue& queue, std::int64_t blocks, std::size_t shared_bytes, const Work<T>& work);
template <class T>
void launch_backward(const Queue& queue, std::int64_t blocks, std::size_t shared_bytes, const Work<T>& work);
// Adds the gradients of the padding to those of the samples that it repeats.
template <class T>
void launch_fold(const Queue& queue, const Work<T>& work);
// Raises the values of each slice to `range` below its largest. All become NaN if one of them is.
template <class T>
void launch_limit_range(const Queue& queue, const Range<T>& range);

}  // namespace pyemo::spectrogram::cuda
