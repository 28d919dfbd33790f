#include "spectrogram/cuda/spectrogram.h"

#include "common/error.h"
#include "spectrogram/cuda/shared_memory.h"
#include "spectrogram/geometry.h"

namespace pyemo::spectrogram::cuda {

namespace {

using pyemo::cuda::DeviceGuard, pyemo::cuda::limits;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument("spectrogram_slices: " + message);
}

// The arguments of both passes.
struct Call {
    const Plan& plan;
    const TensorView &tables, &waveform, &window;
    const Slicing& slicing;
    const TensorView& output;  // or its gradient
    Geometry geometry;

    Call(const Plan& plan, const TensorView& tables, const TensorView& waveform, const TensorView& window,
         const Slicing& slicing, const TensorView& output)
        : plan(plan),
          tables(tables),
          waveform(waveform),
          window(window),
          slicing(slicing),
          output(output),
          geometry(plan.host(), waveform, window, plan.dtype(), slicing, output) {
        require(window.strides[0] == 1 || window.sizes[0] == 1, "the window must be contiguous");
        require(tables.ndim == 1 && tables.sizes[0] == static_cast<std::int64_t>(plan.tables().size()) &&
                    reinterpret_cast<std::uintptr_t>(tables.data) % 16 == 0,
                "the tables must be the plan's " + std::to_string(plan.tables().size()) + " bytes, got " +
                    tables.describe());
        require(waveform.ndim - 1 <= kMostLoops, "CUDA kernels take at most " + std::to_string(kMostLoops + 1) +
                                                     " dimensions, got " + waveform.describe());
        require((waveform.dtype == DType::float64) == (plan.dtype() == DType::float64),
                "the plan is of another dtype than waveform " + waveform.describe());
    }

    template <class T>
    Work<T> work(int device) const {
        const Settings& settings = plan.host().settings;
        Work<T> work{};
        work.tables = plan.tables_at<T>(tables.data);
        work.tables.window = reinterpret_cast<const T*>(window.data);
        work.waveform = waveform.data;
        work.dtype = waveform.dtype;
        work.loops = waveform.ndim - 1;
        for (int d = 0; d < work.loops; ++d) {
            work.sizes[d] = waveform.sizes[d];
            work.strides[d] = waveform.byte_stride(d);
        }
        work.sample_stride = waveform.byte_stride(waveform.ndim - 1);
        work.waveforms = geometry.waveforms, work.samples = geometry.samples, work.frames = geometry.frames;
        work.padding = plan.host().padding();
        work.hop = settings.hop_length;
        work.mode = settings.padding;
        work.slices = geometry.slices, work.slice_frames = slicing.frames, work.slice_hop = slicing.hop;
        work.output = reinterpret_cast<T*>(output.data);
        const SharedMemory memory = shared();
        work.group = memory.group;
        work.chunk = memory.chunk(limits(device).shared_bytes);
        return work;
    }

    SharedMemory shared() const {
        const auto& tables = plan.host().tables<float>();
        return SharedMemory(tables.fft.n, tables.bins, tables.rows(), item_size(plan.dtype()));
    }
};

template <class T>
void run_forward(const Queue& queue, const Call& call) {
    const Geometry& geometry = call.geometry;
    if (geometry.waveforms == 0 || geometry.slices == 0) return;
    const DeviceGuard guard(queue.device);
    Work<T> work = call.work<T>(queue.device);
    work.apart = work.slice_hop >= work.slice_frames;
    work.columns =
        work.apart ? work.slices * work.slice_frames : (work.slices - 1) * work.slice_hop + work.slice_frames;
    launch_forward<T>(queue, work.waveforms * divide_up(work.columns, work.chunk), call.shared().forward(work.chunk),
                      work);
    const std::optional<double>& range = call.plan.host().settings.top_db;
    if (!range) return;
    launch_limit_range<T>(queue, {work.output, work.waveforms * work.slices, work.tables.rows * work.slice_frames,
                                  static_cast<T>(*range)});
}

template <class T>
void run_backward(const Queue& queue, const Call& call, const TensorView& grad_waveform, const TensorView& edges) {
    const Geometry& geometry = call.geometry;
    if (geometry.waveforms == 0 || geometry.samples == 0) return;
    const DeviceGuard guard(queue.device);
    Work<T> work = call.work<T>(queue.device);
    work.columns = geometry.wanted;
    work.span = call.shared().span(limits(queue.device).shared_bytes, work.tables.n_fft);
    work.edges = reinterpret_cast<T*>(edges.data);
    work.grad_waveform = reinterpret_cast<T*>(grad_waveform.data);
    launch_backward<T>(queue, work.waveforms * divide_up(work.samples + 2 * work.padding, work.span),
                       call.shared().backward(work.span), work);
    if (work.padding > 0 && work.mode != Padding::constant) launch_fold<T>(queue, work);
}

}  // namespace

void forward(const Queue& queue, const Plan& plan, const TensorView& tables, const TensorView& waveform,
             const TensorView& window, const Slicing& slicing, const TensorView& output) {
    check_waveform(waveform);
    const Call call(plan, tables, waveform, window, slicing, output);
    if (plan.dtype() == DType::float64) {
        run_forward<double>(queue, call);
    } else {
        run_forward<float>(queue, call);
    }
}

void backward(const Queue& queue, const Plan& plan, const TensorView& tables, const TensorView& grad_output,
              const TensorView& waveform, const TensorView& window, const Slicing& slicing,
              const TensorView& grad_waveform, const TensorView& edges) {
    check_gradient(waveform, grad_waveform);
    const Call call(plan, tables, waveform, window, slicing, grad_output);
    if (plan.dtype() == DType::float64) {
        run_backward<double>(queue, call, grad_waveform, edges);
    } else {
        run_backward<float>(queue, call, grad_waveform, edges);
    }
}

}  // namespace pyemo::spectrogram::cuda
