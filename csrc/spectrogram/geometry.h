#pragma once

#include "spectrogram/spectrogram.h"

namespace pyemo::spectrogram {

// What follows from the shapes of the arguments that both passes have, checked: throws std::invalid_argument or
// DTypeError.
struct Geometry {
    std::int64_t waveforms = 1, samples, frames, slices;
    std::int64_t wanted;  // frames from the first to the last that a slice holds

    Geometry(const Plan& plan, const TensorView& waveform, const TensorView& window, DType window_dtype,
             const Slicing& slicing, const TensorView& output);
};

void check_waveform(const TensorView& waveform);
void check_gradient(const TensorView& waveform, const TensorView& grad_waveform);

}  // namespace pyemo::spectrogram
