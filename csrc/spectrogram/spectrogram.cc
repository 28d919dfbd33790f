#include "spectrogram/spectrogram.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "common/huge_pages.h"
#include "common/isa.h"
#include "common/parallel.h"
#include "spectrogram/geometry.h"
#include "spectrogram/padding.h"

PYEMO_DISPATCH(spectrogram::KernelTable, spectrogram_kernels)

namespace pyemo::spectrogram {

namespace {

constexpr std::int64_t kFrames = 128;            // that a thread takes at a time, unless they are too large
constexpr std::int64_t kScratchBytes = 1 << 18;  // of each of its arrays, of which the second-level cache holds several

// An output of this size would push itself out of a core's caches before anyone reads it.
constexpr std::size_t kStreamedBytes = 1 << 24;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

// The arguments that both passes have, checked, and how the work is cut.
template <class T>
struct Problem {
    const Plan& plan;
    const Kernels<T>& kernels;
    const TensorView& waveform;
    const Slicing slicing;
    std::vector<T> window;
    Tables<T> tables;

    std::int64_t waveforms, samples, frames, slices, slice_size;
    std::int64_t wanted;   // frames from the first to the last that a slice holds
    std::int64_t overlap;  // hops that a frame is long
    int samples_per_hop;   // that a frame needs
    std::int64_t chunk;    // frames that are worked on together
    std::int64_t stride;   // between rows of the laid-out samples
    std::int64_t result_stride;
    std::vector<int> offset;

    Problem(const Plan& plan, const TensorView& waveform, const TensorView& window_view, const Slicing& slicing,
            const TensorView& output)
        : plan(plan),
          kernels(of_type<T>(spectrogram_kernels())),
          waveform(waveform),
          slicing(slicing),
          window(plan.settings.n_fft),
          tables(plan.tables<T>()) {
        const int n_fft = plan.settings.n_fft;
        const std::int64_t hop = plan.settings.hop_length;
        const Geometry geometry(plan, waveform, window_view, DType::float64, slicing, output);
        waveforms = geometry.waveforms, samples = geometry.samples, frames = geometry.frames;
        slices = geometry.slices, wanted = geometry.wanted;
        slice_size = tables.rows() * slicing.frames;

        // The spectrum of packed numbers comes out doubled.
        for (int n = 0; n < n_fft; ++n) {
            const double value = *reinterpret_cast<const double*>(window_view.data + n * window_view.byte_stride(0));
            window[n] = static_cast<T>(tables.packed ? value / 2 : value);
        }
        tables.window = window.data();

        samples_per_hop = static_cast<int>(std::min<std::int64_t>(hop, n_fft));
        overlap = divide_up(n_fft, hop);
        const std::int64_t frame_bytes = std::max(tables.rows(), samples_per_hop) * sizeof(T);
        chunk = std::clamp<std::int64_t>(kScratchBytes / frame_bytes, 1, kFrames);
        chunk = round_up(std::min(chunk, std::max<std::int64_t>(wanted, 1)), kernels.lanes);
        stride = stride_for(chunk + overlap - 1);
        result_stride = stride_for(chunk);
        offset = offsets_for(stride);
    }

    // For rows of so many numbers. An odd number of cache lines keeps them out of each other's sets.
    static std::int64_t stride_for(std::int64_t count) {
        constexpr std::int64_t kLine = 64 / sizeof(T);
        return (divide_up(count, kLine) | 1) * kLine;
    }

    std::vector<int> offsets_for(std::int64_t stride) const {
        const std::int64_t hop = plan.settings.hop_length;
        std::vector<int> offsets(plan.settings.n_fft);
        for (int n = 0; n < plan.settings.n_fft; ++n) offsets[n] = static_cast<int>(n % hop * stride + n / hop);
        return offsets;
    }

    const char* start_of(std::int64_t index) const {
        const char* data = waveform.data;
        for (int d = waveform.ndim - 2; d >= 0; index /= waveform.sizes[d--]) {
            data += index % waveform.sizes[d] * waveform.byte_stride(d);
        }
        return data;
    }

    Source<T> source(std::int64_t index) const {
        return {start_of(index),      waveform.byte_stride(waveform.ndim - 1), waveform.dtype, samples, plan.padding(),
                plan.settings.padding};
    }

    // Calls slice(s, begin, end) for the slices that hold frames of [first, last), with those that it holds.
    template <class Slice>
    void for_slices(std::int64_t first, std::int64_t last, const Slice& slice) const {
        const std::int64_t begin = std::max<std::int64_t>(0, divide_up(first - slicing.frames + 1, slicing.hop));
        for (std::int64_t s = begin; s < slices && s * slicing.hop < last; ++s) {
            slice(s, std::max(first, s * slicing.hop), std::min(last, s * slicing.hop + slicing.frames));
        }
    }
};

// What one thread works in.
template <class T>
struct Scratch {
    std::vector<T> line, laid_out, result, work;

    Scratch(const Problem<T>& problem, std::ptrdiff_t work_vectors)
        : line((problem.chunk + problem.overlap - 1) * problem.samples_per_hop),
          laid_out(problem.samples_per_hop * problem.stride),
          result(problem.tables.rows() * problem.result_stride),
          work(work_vectors * problem.kernels.lanes) {}

    // The samples of `columns` hops from frame `first` on.
    void lay_out(const Problem<T>& problem, const Source<T>& source, std::int64_t first, std::int64_t columns) {
        const std::int64_t hop = problem.plan.settings.hop_length;
        const int rows = problem.samples_per_hop;
        const T* samples = source.directly(first * hop, (columns - 1) * hop + rows);
        std::int64_t step = hop;
        if (!samples) {
            step = rows;
            if (step == hop) {
                source.read(first * hop, columns * rows, line.data());
            } else {
                for (std::int64_t c = 0; c < columns; ++c) source.read((first + c) * hop, rows, &line[c * rows]);
            }
            samples = line.data();
        }
        problem.kernels.transpose(samples, step, rows, static_cast<int>(columns), laid_out.data(), problem.stride);
    }
};

// Runs task(i, scratch) for i < count, each thread with a scratch of its own.
template <class Scratch, class Make, class Task>
void run_tasks(std::int64_t count, int threads, const Make& make, const Task& task) {
    const auto workers = static_cast<int>(std::max<std::int64_t>(1, std::min<std::int64_t>(threads, count)));
    std::vector<Scratch> scratch;
    for (int w = 0; w < workers; ++w) scratch.push_back(make());
    std::atomic<std::int64_t> next{0};
    parallel_for(workers, workers, [&](std::int64_t worker) {
        for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(i, scratch[worker]);
    });
}

template <class T>
void run_forward(const Problem<T>& problem, T* output, int threads) {
    const Slicing slicing = problem.slicing;
    const std::int64_t rows = problem.tables.rows(), chunk = problem.chunk;
    // Where slices leave frames out between them, each is a run of its own.
    const bool apart = slicing.hop >= slicing.frames;
    const std::int64_t runs = apart ? problem.slices : 1;
    const std::int64_t run_length = apart ? std::min(slicing.frames, problem.wanted) : problem.wanted;
    const std::int64_t chunks = divide_up(run_length, chunk);
    const std::size_t bytes = problem.waveforms * problem.slices * problem.slice_size * sizeof(T);
    const bool streams = bytes >= kStreamedBytes;
    if (streams) prefer_huge_pages(output, bytes);
    const T silence = problem.kernels.silence(problem.tables);
    const auto make = [&] { return Scratch<T>(problem, problem.tables.forward_work()); };
    run_tasks<Scratch<T>>(
        problem.waveforms * runs * chunks, threads, make, [&](std::int64_t task, Scratch<T>& scratch) {
            const std::int64_t waveform = task / (runs * chunks), run = task / chunks % runs;
            const std::int64_t end = std::min(problem.wanted, run * slicing.hop + run_length);
            const std::int64_t first = run * slicing.hop + task % chunks * chunk, last = std::min(end, first + chunk);
            if (first >= last) return;
            scratch.lay_out(problem, problem.source(waveform), first, last - first + problem.overlap - 1);
            problem.kernels.forward(problem.tables, {scratch.laid_out.data(), problem.offset.data()},
                                    static_cast<int>(last - first), scratch.result.data(), problem.result_stride,
                                    scratch.work.data());
            T* slices = output + waveform * problem.slices * problem.slice_size;
            problem.for_slices(first, last, [&](std::int64_t s, std::int64_t begin, std::int64_t finish) {
                T* target = slices + s * problem.slice_size + begin - s * slicing.hop;
                const T* source = scratch.result.data() + begin - first;
                if (streams) {
                    problem.kernels.stream(source, problem.result_stride, static_cast<int>(rows),
                                           static_cast<int>(finish - begin), target, slicing.frames);
                } else {
                    for (std::int64_t m = 0; m < rows; ++m) {
                        std::memcpy(target + m * slicing.frames, source + m * problem.result_stride,
                                    (finish - begin) * sizeof(T));
                    }
                }
                if (finish != problem.frames) return;
                for (std::int64_t m = 0; m < rows; ++m) {  // what is left of a slice beyond the last frame
                    std::fill(target + m * slicing.frames + (finish - begin),
                              slices + s * problem.slice_size + (m + 1) * slicing.frames, silence);
                }
            });
        });
    if (!problem.plan.settings.top_db) return;
    const T range = static_cast<T>(*problem.plan.settings.top_db);
    parallel_for(problem.waveforms * problem.slices, threads, [&](std::int64_t slice) {
        problem.kernels.limit_range(output + slice * problem.slice_size, problem.slice_size, range);
    });
}

// A task owns the samples of some hops of a padded waveform, and goes through all frames that reach into them.
template <class T>
void run_backward(const Problem<T>& problem, const T* grad_output, T* grad_waveform, int threads) {
    const Slicing slicing = problem.slicing;
    const std::int64_t hop = problem.plan.settings.hop_length, padding = problem.plan.padding();
    const std::int64_t rows = problem.tables.rows(), chunk = problem.chunk, overlap = problem.overlap;
    const std::int64_t hops = divide_up(problem.samples + 2 * padding, hop);
    const std::int64_t owned = std::max(chunk, 4 * overlap), chunks = divide_up(hops, owned);
    const std::int64_t stride = problem.stride_for(owned + 2 * (overlap - 1) + problem.kernels.lanes);
    const std::vector<int> offset = problem.offsets_for(stride);
    std::vector<T> edges(2 * padding * problem.waveforms);

    struct BackwardScratch : Scratch<T> {
        std::vector<T> grad;
        using Scratch<T>::Scratch;
    };
    const auto make = [&] {
        BackwardScratch scratch(problem, problem.tables.backward_work());
        scratch.grad.resize(problem.samples_per_hop * stride);
        return scratch;
    };
    run_tasks<BackwardScratch>(problem.waveforms * chunks, threads, make, [&](std::int64_t task, BackwardScratch& s) {
        const std::int64_t waveform = task / chunks, begin = task % chunks * owned, end = std::min(hops, begin + owned);
        const std::int64_t origin = std::max<std::int64_t>(0, begin - overlap + 1);
        const T* slices = grad_output + waveform * problem.slices * problem.slice_size;
        std::fill(s.grad.begin(), s.grad.end(), T(0));
        for (std::int64_t first = origin; first < std::min(problem.wanted, end); first += chunk) {
            const std::int64_t last = std::min({first + chunk, problem.wanted, end});
            std::fill(s.laid_out.begin(), s.laid_out.end(), T(0));  // lanes without a frame must not add anything
            std::fill(s.result.begin(), s.result.end(), T(0));
            s.lay_out(problem, problem.source(waveform), first, last - first + overlap - 1);
            problem.for_slices(first, last, [&](std::int64_t slice, std::int64_t from, std::int64_t to) {
                const T* source = slices + slice * problem.slice_size + from - slice * slicing.hop;
                T* target = s.result.data() + from - first;
                for (std::int64_t m = 0; m < rows; ++m) {
                    const T* grad = source + m * slicing.frames;
                    T* sum = target + m * problem.result_stride;
                    for (std::int64_t f = 0; f < to - from; ++f) sum[f] += grad[f];
                }
            });
            problem.kernels.backward(problem.tables, {s.laid_out.data(), problem.offset.data()},
                                     static_cast<int>(last - first), s.result.data(), problem.result_stride,
                                     {s.grad.data() + (first - origin), offset.data()}, s.work.data());
        }
        T* inside = grad_waveform + waveform * problem.samples;
        T* before = edges.data() + 2 * padding * waveform;
        T* after = before + padding;
        for (std::int64_t h = begin; h < end; ++h) {
            for (std::int64_t r = 0; r < hop; ++r) {
                const std::int64_t sample = h * hop + r - padding;
                if (sample >= problem.samples + padding) break;
                const T value = r < problem.samples_per_hop ? s.grad[r * stride + h - origin] : T(0);
                (sample < 0                 ? before[sample + padding]
                 : sample < problem.samples ? inside[sample]
                                            : after[sample - problem.samples]) = value;
            }
        }
    });
    if (problem.samples == 0) return;
    parallel_for(problem.waveforms, threads, [&](std::int64_t waveform) {
        T* inside = grad_waveform + waveform * problem.samples;
        const T* before = edges.data() + 2 * padding * waveform;
        const Source<T> source = problem.source(waveform);
        for (std::int64_t i = 0; i < 2 * padding; ++i) {
            const std::int64_t origin = source.origin(i < padding ? i - padding : problem.samples + i - padding);
            if (origin >= 0) inside[origin] += before[i];
        }
    });
}

}  // namespace

void forward(const Plan& plan, const TensorView& waveform, const TensorView& window, const Slicing& slicing,
             const TensorView& output, int threads) {
    check_waveform(waveform);
    if (waveform.dtype == DType::float64) {
        const Problem<double> problem(plan, waveform, window, slicing, output);
        run_forward(problem, reinterpret_cast<double*>(output.data), threads);
    } else {
        const Problem<float> problem(plan, waveform, window, slicing, output);
        run_forward(problem, reinterpret_cast<float*>(output.data), threads);
    }
}

void backward(const Plan& plan, const TensorView& grad_output, const TensorView& waveform, const TensorView& window,
              const Slicing& slicing, const TensorView& grad_waveform, int threads) {
    check_gradient(waveform, grad_waveform);
    if (waveform.dtype == DType::float64) {
        const Problem<double> problem(plan, waveform, window, slicing, grad_output);
        run_backward(problem, reinterpret_cast<const double*>(grad_output.data),
                     reinterpret_cast<double*>(grad_waveform.data), threads);
    } else {
        const Problem<float> problem(plan, waveform, window, slicing, grad_output);
        run_backward(problem, reinterpret_cast<const float*>(grad_output.data),
                     reinterpret_cast<float*>(grad_waveform.data), threads);
    }
}

}  // namespace pyemo::spectrogram
