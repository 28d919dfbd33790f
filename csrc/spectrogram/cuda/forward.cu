#include "spectrogram/cuda/transform.cuh"

namespace pyemo::spectrogram::cuda {

namespace {

// A block has `chunk` neighbouring frames of a waveform: a group of threads transforms a frame, then all threads make
// rows of them, neighbouring lanes neighbouring frames, and write these to every slice that holds them.
template <class T>
__global__ void __launch_bounds__(kThreads) forward(const __grid_constant__ Work<T> work) {
    const Tables<T>& tables = work.tables;
    const std::int64_t chunks = (work.columns + work.chunk - 1) / work.chunk;
    const std::int64_t waveform = blockIdx.x / chunks, first = (blockIdx.x - waveform * chunks) * work.chunk;
    const char* const data = waveform_at(work, waveform);
    const auto frame_of = [&](std::int64_t column) {
        return work.apart ? column / work.slice_frames * work.slice_hop + column % work.slice_frames : column;
    };
    const Group group(work.group);
    const int groups = kThreads / work.group, stride = work.chunk > 1 ? work.chunk + 1 : 1;
    Complex<T>* const numbers = dynamic_shared<Complex<T>>() + group.index * padded(tables.n);
    T* const powers = reinterpret_cast<T*>(dynamic_shared<Complex<T>>() + groups * padded(tables.n));  // (bins, chunk)

    for (int start = 0; start < work.chunk; start += groups) {
        const int f = start + group.index;
        const std::int64_t frame = frame_of(first + f);
        const bool exists = f < work.chunk && first + f < work.columns && frame < work.frames;
        if (exists) Frame<T>(work, data, frame).lay_out(group, numbers);
        transform(group, tables, numbers);
        if (exists) {
            spectrum(group, tables, numbers,
                     [&](int k, Complex<T> x) { powers[k * stride + f] = raised(tables.power, x.square()); });
        }
        group.wait();
    }
    __syncthreads();

    const int f = threadIdx.x % work.chunk;
    if (first + f >= work.columns) return;
    const std::int64_t frame = frame_of(first + f);
    const SlicesOf<T> slices(work, frame);
    const std::int64_t slice_size = tables.rows * work.slice_frames;
    T* const target =
        work.output + (waveform * work.slices + slices.begin) * slice_size + frame - slices.begin * work.slice_hop;
    for (int row = threadIdx.x / work.chunk; row < tables.rows; row += kThreads / work.chunk) {
        T value = 0;  // silence, beyond the last frame
        if (frame < work.frames) {
            if (tables.filter_begin) {
                const T* bins = powers + tables.filter_begin[row] * stride + f;
                const T* weights = tables.weights + tables.filter_weights[row];
                for (int i = 0; i < tables.filter_length[row]; ++i) value += bins[i * stride] * weights[i];
            } else {
                value = powers[row * stride + f];
            }
        }
        value = logarithm(tables, value);
        T* to = target + row * work.slice_frames;
        for (std::int64_t s = slices.begin; s < slices.end; ++s, to += slice_size - work.slice_hop) *to = value;
    }
}

// A block is a slice.
template <class T>
__global__ void __launch_bounds__(kThreads) limit_range(const __grid_constant__ Range<T> range) {
    T* const of_warp = dynamic_shared<T>();
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    // A NaN becomes the largest value and stays it.
    const auto larger = [](T a, T b) { return b > a || b != b ? b : a; };
    for (std::int64_t slice = blockIdx.x; slice < range.slices; slice += gridDim.x) {
        T* const values = range.values + slice * range.size;
        T largest = values[0];
        for (std::int64_t i = threadIdx.x; i < range.size; i += kThreads) largest = larger(largest, values[i]);
        for (int distance = kWarp / 2; distance > 0; distance /= 2) {
            largest = larger(largest, __shfl_xor_sync(kAllLanes, largest, distance));
        }
        if (lane == 0) of_warp[warp] = largest;
        __syncthreads();
        for (int w = 0; w < kThreads / kWarp; ++w) largest = larger(largest, of_warp[w]);
        const T low = largest - range.range;
        for (std::int64_t i = threadIdx.x; i < range.size; i += kThreads) values[i] = values[i] > low ? values[i] : low;
        __syncthreads();
    }
}

}  // namespace

template <class T>
void launch_forward(const Queue& queue, std::int64_t blocks, std::size_t shared_bytes, const Work<T>& work) {
    launch(queue, forward<T>, dim3(grid_size(blocks)), kThreads, shared_bytes, work);
}

template <class T>
void launch_limit_range(const Queue& queue, const Range<T>& range) {
    const std::int64_t blocks = range.slices < 65536 ? range.slices : 65536;
    launch(queue, limit_range<T>, dim3(grid_size(blocks)), kThreads, kThreads / kWarp * sizeof(T), range);
}

template void launch_forward(const Queue&, std::int64_t, std::size_t, const Work<float>&);
template void launch_forward(const Queue&, std::int64_t, std::size_t, const Work<double>&);
template void launch_limit_range(const Queue&, const Range<float>&);
template void launch_limit_range(const Queue&, const Range<double>&);

}  // namespace pyemo::spectrogram::cuda
