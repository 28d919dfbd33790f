#include "spectrogram/cuda/transform.cuh"

namespace pyemo::spectrogram::cuda {

namespace {

constexpr double kLn2 = 0.693147180559945309417;

// The value of a row of a frame, before the logarithm.
template <class T>
__device__ __forceinline__ T value_of_row(const Tables<T>& tables, const Complex<T>* spectrum, int row) {
    if (!tables.filter_begin) return raised(tables.power, spectrum[row].square());
    const T* weights = tables.weights + tables.filter_weights[row];
    const Complex<T>* bins = spectrum + tables.filter_begin[row];
    T sum = 0;
    for (int i = 0; i < tables.filter_length[row]; ++i) sum += raised(tables.power, bins[i].square()) * weights[i];
    return sum;
}

// From a bin's value to its gradient, given those of the rows.
template <class T>
__device__ __forceinline__ Complex<T> grad_of_bin(const Tables<T>& tables, Complex<T> x, int k, const T* grad_rows) {
    T grad = 0;
    if (tables.filter_begin) {
        for (int i = tables.column_begin[k]; i < tables.column_begin[k + 1]; ++i) {
            grad += grad_rows[tables.column_filters[i]] * tables.column_weights[i];
        }
    } else {
        grad = grad_rows[k];
    }
    if (tables.power == 2) return x * (grad * T(2));
    const T square = x.square();
    return x * (square > 0 ? grad * T(tables.power) * raised(tables.power, square) / square : square * T(0));
}

// The adjoint of spectrum(): from the gradient of each X[k] to the numbers whose transform is that of the samples, real
// and imaginary parts swapped, which makes the transform its own adjoint.
template <class T>
__device__ __forceinline__ void fold_spectrum(const Group& group, const Tables<T>& tables, const Complex<T>* grad,
                                              Complex<T>* numbers) {
    const int n = tables.n;
    const auto put = [&](int i, Complex<T> z) { numbers[padded(i)] = z.swapped(); };
    if (!tables.packed) {
        for (int k = group.thread; k < n; k += group.size) put(k, k < tables.bins ? grad[k] : Complex<T>{0, 0});
        return;
    }
    for (int k = group.thread; k <= n / 2; k += group.size) {
        if (k == 0) {
            put(0, Complex<T>{T(2) * (grad[0].re + grad[n].re), T(2) * (grad[0].re - grad[n].re)});
        } else if (2 * k == n) {
            put(k, Complex<T>{T(2) * grad[k].re, T(-2) * grad[k].im});
        } else {
            const Complex<T> x = grad[k], y = grad[n - k].conjugate(), even = x + y;
            const Complex<T> root = reinterpret_cast<const Complex<T>*>(tables.roots)[k].conjugate();
            const Complex<T> odd = ((x - y) * root).times_i();
            put(k, even + odd);
            put(n - k, (even - odd).conjugate());
        }
    }
}

// A block sums up `span` samples of a waveform with its padding, of all frames that reach into them, in their order.
template <class T>
__global__ void __launch_bounds__(kThreads) backward(const __grid_constant__ Work<T> work) {
    const Tables<T>& tables = work.tables;
    const std::int64_t length = work.samples + 2 * work.padding, spans = (length + work.span - 1) / work.span;
    const std::int64_t waveform = blockIdx.x / spans, begin = (blockIdx.x - waveform * spans) * work.span;
    const std::int64_t end = begin + work.span < length ? begin + work.span : length;
    const char* const data = waveform_at(work, waveform);
    const Group group(work.group);
    const int groups = kThreads / work.group, numbers_each = padded(tables.n);
    Complex<T>* const all_numbers = dynamic_shared<Complex<T>>();
    Complex<T>* const numbers = all_numbers + group.index * numbers_each;
    Complex<T>* const spectra = all_numbers + groups * numbers_each + group.index * tables.bins;
    T* const all_rows = reinterpret_cast<T*>(all_numbers + groups * (numbers_each + tables.bins));
    T* const grad_rows = all_rows + group.index * tables.rows;
    T* const sums = all_rows + groups * tables.rows;

    for (int i = threadIdx.x; i < work.span; i += kThreads) sums[i] = 0;
    std::int64_t first = begin < tables.n_fft ? 0 : (begin - tables.n_fft) / work.hop + 1;
    const std::int64_t reached = (end - 1) / work.hop + 1, last = reached < work.columns ? reached : work.columns;
    for (; first < last; first += groups) {
        const std::int64_t frame = first + group.index;
        const bool exists = frame < last;
        if (exists) Frame<T>(work, data, frame).lay_out(group, numbers);
        transform(group, tables, numbers);
        if (exists) spectrum(group, tables, numbers, [&](int k, Complex<T> x) { spectra[k] = x; });
        group.wait();
        if (exists) {
            const SlicesOf<T> slices(work, frame);
            const std::int64_t slice_size = tables.rows * work.slice_frames;
            const T* const source = work.output + (waveform * work.slices + slices.begin) * slice_size + frame -
                                    slices.begin * work.slice_hop;
            for (int row = group.thread; row < tables.rows; row += group.size) {
                const T* from = source + row * work.slice_frames;
                T grad = 0;
                for (std::int64_t s = slices.begin; s < slices.end; ++s, from += slice_size - work.slice_hop)
                    grad += *from;
                if (tables.log_scale != 0) {
                    const T value = value_of_row(tables, spectra, row);
                    grad = value >= tables.amin ? grad * (tables.log_scale / T(kLn2)) / value : T(0);
                }
                grad_rows[row] = grad;
            }
        }
        group.wait();
        if (exists) {
            for (int k = group.thread; k < tables.bins; k += group.size) {
                spectra[k] = grad_of_bin(tables, spectra[k], k, grad_rows);
            }
        }
        group.wait();
        if (exists) fold_spectrum(group, tables, spectra, numbers);
        transform(group, tables, numbers);
        __syncthreads();

        const std::int64_t from = first * work.hop > begin ? first * work.hop : begin;
        const std::int64_t last_begin = ((first + groups < last ? first + groups : last) - 1) * work.hop;
        const std::int64_t to = last_begin + tables.n_fft < end ? last_begin + tables.n_fft : end;
        for (std::int64_t i = from + threadIdx.x; i < to; i += kThreads) {
            T sum = sums[i - begin];
            for (int g = 0; g < groups && first + g < last; ++g) {
                const std::int64_t n = i - (first + g) * work.hop;
                if (n < 0 || n >= tables.n_fft) continue;
                const int sample = static_cast<int>(n), number = tables.packed ? sample / 2 : sample;
                const Complex<T> z = all_numbers[g * numbers_each + padded(tables.position[number])];
                const T half = tables.packed ? T(0.5) : T(1);
                sum += (tables.packed && sample % 2 ? z.re : z.im) * (tables.window[sample] * half);
            }
            sums[i - begin] = sum;
        }
        __syncthreads();
    }
    __syncthreads();

    T* const before = work.edges + 2 * work.padding * waveform;
    T* const inside = work.grad_waveform + work.samples * waveform;
    for (std::int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
        const std::int64_t sample = i - work.padding;
        T* const to = sample < 0              ? before + i
                      : sample < work.samples ? inside + sample
                                              : before + work.padding + sample - work.samples;
        *to = sums[i - begin];
    }
}

// A block is a waveform. Every sample has one thread that adds to it, or one addition at a time.
template <class T>
__global__ void __launch_bounds__(kThreads) fold(const __grid_constant__ Work<T> work) {
    // Whether no two numbers of one edge belong to the same sample.
    const bool apart = (work.mode == Padding::reflect && work.samples > work.padding) ||
                       (work.mode == Padding::circular && work.samples >= work.padding);
    for (std::int64_t waveform = blockIdx.x; waveform < work.waveforms; waveform += gridDim.x) {
        const T* const edges = work.edges + 2 * work.padding * waveform;
        T* const inside = work.grad_waveform + work.samples * waveform;
        for (int side = 0; side < 2; ++side) {
            const std::int64_t step = apart ? kThreads : 1;
            for (std::int64_t i = apart ? threadIdx.x : 0; i < work.padding; i += step) {
                const std::int64_t index = side == 0 ? i - work.padding : work.samples + i;
                const std::int64_t origin = origin_of(index, work.samples, work.mode);
                if (origin >= 0 && (apart || origin % kThreads == threadIdx.x)) {
                    inside[origin] += edges[side * work.padding + i];
                }
            }
            __syncthreads();
        }
    }
}

}  // namespace

template <class T>
void launch_backward(const Queue& queue, std::int64_t blocks, std::size_t shared_bytes, const Work<T>& work) {
    launch(queue, backward<T>, dim3(grid_size(blocks)), kThreads, shared_bytes, work);
}

template <class T>
void launch_fold(const Queue& queue, const Work<T>& work) {
    const std::int64_t blocks = work.waveforms < 65536 ? work.waveforms : 65536;
    launch(queue, fold<T>, dim3(grid_size(blocks)), kThreads, 0, work);
}

template void launch_backward(const Queue&, std::int64_t, std::size_t, const Work<float>&);
template void launch_backward(const Queue&, std::int64_t, std::size_t, const Work<double>&);
template void launch_fold(const Queue&, const Work<float>&);
template void launch_fold(const Queue&, const Work<double>&);

}  // namespace pyemo::spectrogram::cuda
