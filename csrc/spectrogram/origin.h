// Where samples and frames come from and go to: index arithmetic that the CPU's and the GPU's code share.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace pyemo::spectrogram {

// What the waveform is continued with beyond its ends, by half a frame each.
enum class Padding : int { none, reflect, constant, replicate, circular };

PYEMO_HOST_DEVICE inline std::int64_t modulo(std::int64_t a, std::int64_t b) { return (a % b + b) % b; }

// The sample of a waveform that stands at `index`, which may be outside [0, samples); -1 for zero.
PYEMO_HOST_DEVICE inline std::int64_t origin_of(std::int64_t index, std::int64_t samples, Padding mode) {
    if (index >= 0 && index < samples) return index;
    switch (mode) {
        case Padding::none:
        case Padding::constant:
            return -1;
        case Padding::replicate:
            return index < 0 ? 0 : samples - 1;
        case Padding::circular:
            return modulo(index, samples);
        case Padding::reflect:  // any number of times, as NumPy does
            if (samples == 1) return 0;
            const std::int64_t period = 2 * (samples - 1), phase = modulo(index, period);
            return phase < samples ? phase : period - phase;
    }
    return -1;
}

}  // namespace pyemo::spectrogram
