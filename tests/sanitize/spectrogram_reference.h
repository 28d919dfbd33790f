#pragma once

#include <optional>
#include <vector>

#include "problem.h"
#include "spectrogram/spectrogram.h"

namespace pyemo::sanitize {

// The arguments of spectrogram slices, each tensor as its values in the order of its sizes.
struct SpectrogramSlices {
    spectrogram::Settings settings;
    spectrogram::Slicing slicing;
    int waveforms, samples, slices;
    int filter_count;  // 0: the bins themselves
    std::vector<double> waveform, window, filters, grad_output;

    int padding() const { return settings.padding == spectrogram::Padding::none ? 0 : settings.n_fft / 2; }
    int frames() const {
        const int padded = samples + 2 * padding();
        return padded < settings.n_fft ? 0 : 1 + (padded - settings.n_fft) / settings.hop_length;
    }
    int bins() const { return settings.n_fft / 2 + 1; }
    int rows() const { return filter_count ? filter_count : bins(); }
};

struct SpectrogramExpected {
    Expected output, grad_waveform;
};

// `tolerance`: the error of a bin, as a share of its frame's norm, and of every step after it, as a share of its
// result. How much they change what follows, a logarithm of nearly nothing for one, is found by computing it.
SpectrogramExpected spectrogram_slices(const SpectrogramSlices& arguments, double tolerance);

}  // namespace pyemo::sanitize
