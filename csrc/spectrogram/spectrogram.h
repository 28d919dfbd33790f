#pragma once

#include "common/tensor_view.h"
#include "spectrogram/plan.h"

namespace pyemo::spectrogram {

struct Slicing {
    std::int64_t frames;  // of a slice
    std::int64_t hop;     // from one slice to the next
};

// waveform (..., samples) int16, float32 or float64; window float64 (n_fft,); output contiguous (..., slices, rows,
// slicing.frames), float64 for float64, else float32. Frames beyond the last are those of silence. They throw
// std::invalid_argument or DTypeError.
void forward(const Plan& plan, const TensorView& waveform, const TensorView& window, const Slicing& slicing,
             const TensorView& output, int threads);

// grad_output as the output, before the limit that top_db sets; grad_waveform contiguous, as the waveform, which is not
// int16. The sums have the same order whatever the number of threads.
void backward(const Plan& plan, const TensorView& grad_output, const TensorView& waveform, const TensorView& window,
              const Slicing& slicing, const TensorView& grad_waveform, int threads);

}  // namespace pyemo::spectrogram
