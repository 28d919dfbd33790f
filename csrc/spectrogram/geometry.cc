#include "spectrogram/geometry.h"

#include <algorithm>
#include <string>

#include "common/error.h"

namespace pyemo::spectrogram {

namespace {

void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument("spectrogram_slices: " + message);
}

void require_dtype(const TensorView& view, DType dtype, const char* what) {
    if (view.dtype != dtype) {
        throw DTypeError(std::string("spectrogram_slices: ") + what + " must be " + name(dtype) + ", got " +
                         view.describe());
    }
}

bool is_contiguous(const TensorView& view) {
    std::int64_t stride = 1;
    for (int d = view.ndim - 1; d >= 0; --d) {
        if (view.sizes[d] == 0) return true;
        if (view.sizes[d] != 1 && view.strides[d] != stride) return false;
        stride *= view.sizes[d];
    }
    return true;
}

}  // namespace

Geometry::Geometry(const Plan& plan, const TensorView& waveform, const TensorView& window, DType window_dtype,
                   const Slicing& slicing, const TensorView& output) {
    const int n_fft = plan.settings.n_fft, rows = plan.rows();
    require(waveform.ndim >= 1, "the waveform must have at least one dimension");
    require(slicing.frames >= 1 && slicing.hop >= 1, "slice_frames and slice_hop must be positive");
    require_dtype(window, window_dtype, "the window");
    require(window.ndim == 1 && window.sizes[0] == n_fft,
            "the window must be (" + std::to_string(n_fft) + ",), got " + window.describe());
    require_dtype(output, waveform.dtype == DType::float64 ? DType::float64 : DType::float32,
                  "the output and its gradient");
    bool fits = output.ndim == waveform.ndim + 2 && output.sizes[waveform.ndim] == rows &&
                output.sizes[waveform.ndim + 1] == slicing.frames;
    for (int d = 0; fits && d + 1 < waveform.ndim; ++d) fits = output.sizes[d] == waveform.sizes[d];
    require(fits, "output " + output.describe() + " does not fit waveform " + waveform.describe());
    require(is_contiguous(output), "the output and its gradient must be contiguous");

    for (int d = 0; d + 1 < waveform.ndim; ++d) waveforms *= waveform.sizes[d];
    samples = waveform.sizes[waveform.ndim - 1];
    frames = plan.frames(samples);
    slices = output.sizes[waveform.ndim - 1];
    require(slices == 0 || (slices - 1) * slicing.hop < frames,
            "output " + output.describe() + " has more slices than " + waveform.describe() + " has frames for");
    wanted = slices ? std::min(frames, (slices - 1) * slicing.hop + slicing.frames) : 0;
}

void check_waveform(const TensorView& waveform) {
    if (waveform.dtype != DType::int16 && waveform.dtype != DType::float32 && waveform.dtype != DType::float64) {
        throw DTypeError("spectrogram_slices: dtype not supported, got " + waveform.describe());
    }
}

void check_gradient(const TensorView& waveform, const TensorView& grad_waveform) {
    if (waveform.dtype != DType::float32 && waveform.dtype != DType::float64) {
        throw DTypeError("spectrogram_slices: no gradient for waveform " + waveform.describe());
    }
    require_dtype(grad_waveform, waveform.dtype, "the gradient of the waveform");
    bool fits = grad_waveform.ndim == waveform.ndim && is_contiguous(grad_waveform);
    for (int d = 0; fits && d < waveform.ndim; ++d) fits = grad_waveform.sizes[d] == waveform.sizes[d];
    require(fits, "gradient " + grad_waveform.describe() + " does not fit waveform " + waveform.describe() +
                      " or is not contiguous");
}

}  // namespace pyemo::spectrogram
