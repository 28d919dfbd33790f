#include "spectrogram/spectrogram.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "python/tensor_argument.h"

namespace py = pybind11;

namespace pyemo {

namespace {

using spectrogram::Plan;

std::unique_ptr<Plan> make_plan(int n_fft, int hop_length, const std::string& padding, double power, double log_scale,
                                double amin, std::optional<double> top_db, const std::optional<TensorView>& filters) {
    const spectrogram::Settings settings{n_fft, hop_length, spectrogram::padding_of(padding), power, log_scale,
                                         amin,  top_db};
    return std::make_unique<Plan>(settings, filters ? &*filters : nullptr);
}

void forward(const Plan& plan, const TensorView& waveform, const TensorView& window, std::int64_t slice_frames,
             std::int64_t slice_hop, const TensorView& output, int threads) {
    const py::gil_scoped_release release;
    spectrogram::forward(plan, waveform, window, {slice_frames, slice_hop}, output, threads);
}

void backward(const Plan& plan, const TensorView& grad_output, const TensorView& waveform, const TensorView& window,
              std::int64_t slice_frames, std::int64_t slice_hop, const TensorView& grad_waveform, int threads) {
    const py::gil_scoped_release release;
    spectrogram::backward(plan, grad_output, waveform, window, {slice_frames, slice_hop}, grad_waveform, threads);
}

}  // namespace

void bind_spectrogram(py::module_& module) {
    py::class_<Plan>(module, "SpectrogramPlan", py::module_local(), "Settings and tables of spectrogram_slices.")
        .def(py::init(&make_plan), py::kw_only(), py::arg("n_fft"), py::arg("hop_length"), py::arg("padding"),
             py::arg("power"), py::arg("log_scale"), py::arg("amin"), py::arg("top_db"), py::arg("filters"));
    module.def("spectrogram_slices", forward);
    module.def("spectrogram_slices_backward", backward);
}

}  // namespace pyemo
