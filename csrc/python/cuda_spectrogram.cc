#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "python/queue_argument.h"
#include "python/tensor_argument.h"
#include "spectrogram/cuda/spectrogram.h"

namespace py = pybind11;

namespace pyemo {

namespace {

using cuda::Queue;
using spectrogram::cuda::Plan;

std::unique_ptr<Plan> make_plan(int n_fft, int hop_length, const std::string& padding, double power, double log_scale,
                                double amin, std::optional<double> top_db, const std::optional<TensorView>& filters,
                                int dtype) {
    const spectrogram::Settings settings{n_fft, hop_length, spectrogram::padding_of(padding), power, log_scale,
                                         amin,  top_db};
    return std::make_unique<Plan>(settings, filters ? &*filters : nullptr, static_cast<DType>(dtype));
}

void forward(const Queue& queue, const Plan& plan, const TensorView& tables, const TensorView& waveform,
             const TensorView& window, std::int64_t slice_frames, std::int64_t slice_hop, const TensorView& output) {
    const py::gil_scoped_release release;
    spectrogram::cuda::forward(queue, plan, tables, waveform, window, {slice_frames, slice_hop}, output);
}

void backward(const Queue& queue, const Plan& plan, const TensorView& tables, const TensorView& grad_output,
              const TensorView& waveform, const TensorView& window, std::int64_t slice_frames, std::int64_t slice_hop,
              const TensorView& grad_waveform, const TensorView& edges) {
    const py::gil_scoped_release release;
    spectrogram::cuda::backward(queue, plan, tables, grad_output, waveform, window, {slice_frames, slice_hop},
                                grad_waveform, edges);
}

}  // namespace

void bind_cuda_spectrogram(py::module_& module) {
    py::class_<Plan>(module, "SpectrogramPlan", py::module_local(), "Settings and tables of spectrogram_slices.")
        .def(py::init(&make_plan), py::kw_only(), py::arg("n_fft"), py::arg("hop_length"), py::arg("padding"),
             py::arg("power"), py::arg("log_scale"), py::arg("amin"), py::arg("top_db"), py::arg("filters"),
             py::arg("dtype"))
        .def("is_supported", &Plan::is_supported, "Whether a device's kernels take frames of this size.")
        .def(
            "tables", [](const Plan& plan) { return py::bytes(plan.tables().data(), plan.tables().size()); },
            "What each call wants on the device, aligned to 16 bytes.");
    module.def("spectrogram_slices", forward);
    module.def("spectrogram_slices_backward", backward);
}

}  // namespace pyemo
