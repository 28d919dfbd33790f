#include <cstring>

#include "common/error.h"
#include "spectrogram/cuda/shared_memory.h"
#include "spectrogram/cuda/spectrogram.h"

namespace pyemo::spectrogram::cuda {

Plan::Plan(const Settings& settings, const TensorView* filters, DType dtype) : host_(settings, filters), dtype_(dtype) {
    smooth_ = host_.tables<float>().fft.convolution == nullptr;
    if (!smooth_) return;
    if (dtype == DType::float64) {
        fill<double>();
    } else {
        fill<float>();
    }
}

template <class U>
std::size_t Plan::add(const std::vector<U>& values) {
    const std::size_t at = bytes_.size(), count = values.size() * sizeof(U);
    bytes_.resize((at + count + 15) / 16 * 16);
    if (count) std::memcpy(bytes_.data() + at, values.data(), count);
    return at;
}

template <class T>
void Plan::fill() {
    const spectrogram::Tables<T>& tables = host_.tables<T>();
    const FftTables<T>& fft = tables.fft;
    int size = fft.n;
    for (int p = 0; p < fft.passes; ++p) {
        const int radix = fft.pass[p].radix, butterflies = size / radix;
        std::vector<T> factors;
        for (int q = 1; fft.pass[p].twiddles && q < radix; ++q) {
            for (int j = 0; j < butterflies; ++j) {
                const T* factor = fft.pass[p].twiddles + 2 * (j * (radix - 1) + q - 1);
                factors.insert(factors.end(), factor, factor + 2);
            }
        }
        twiddles_[p] = add(factors);
        size = butterflies;
    }
    position_ = add(std::vector<int>(fft.position, fft.position + fft.n));
    // e^(-2 pi i k / n_fft) for k <= n_fft / 4.
    roots_ = add(std::vector<T>(tables.roots, tables.roots + 2 * (tables.n_fft / 4 + 1)));
    if (!tables.filter_begin) return;

    std::vector<int> offsets, column_begin{0}, column_filters;
    std::vector<T> column_weights;
    int total = 0;
    for (int m = 0; m < tables.filters; ++m) {
        offsets.push_back(total);
        total += tables.filter_length[m];
    }
    for (int k = 0; k < tables.bins; ++k) {
        for (int m = 0; m < tables.filters; ++m) {
            const int i = k - tables.filter_begin[m];
            if (i < 0 || i >= tables.filter_length[m]) continue;
            column_filters.push_back(m);
            column_weights.push_back(tables.weights[offsets[m] + i]);
        }
        column_begin.push_back(static_cast<int>(column_filters.size()));
    }
    filter_begin_ = add(std::vector<int>(tables.filter_begin, tables.filter_begin + tables.filters));
    filter_length_ = add(std::vector<int>(tables.filter_length, tables.filter_length + tables.filters));
    filter_weights_ = add(offsets);
    weights_ = add(std::vector<T>(tables.weights, tables.weights + total));
    column_begin_ = add(column_begin);
    column_filters_ = add(column_filters);
    column_weights_ = add(column_weights);
}

template <class T>
Tables<T> Plan::tables_at(const char* address) const {
    const spectrogram::Tables<T>& host = host_.tables<T>();
    const auto numbers = [&](std::size_t at) { return reinterpret_cast<const T*>(address + at); };
    const auto integers = [&](std::size_t at) { return reinterpret_cast<const int*>(address + at); };
    Tables<T> tables{};
    tables.n_fft = host.n_fft, tables.n = host.fft.n, tables.bins = host.bins, tables.rows = host.rows();
    tables.passes = host.fft.passes;
    tables.packed = host.packed;
    for (int p = 0; p < tables.passes; ++p) {
        tables.radix[p] = host.fft.pass[p].radix;
        tables.twiddles[p] = host.fft.pass[p].twiddles ? numbers(twiddles_[p]) : nullptr;
    }
    tables.position = integers(position_);
    tables.roots = numbers(roots_);
    tables.power = host.power;
    if (host.filter_begin) {
        tables.filter_begin = integers(filter_begin_);
        tables.filter_length = integers(filter_length_);
        tables.filter_weights = integers(filter_weights_);
        tables.weights = numbers(weights_);
        tables.column_begin = integers(column_begin_);
        tables.column_filters = integers(column_filters_);
        tables.column_weights = numbers(column_weights_);
    }
    tables.log_scale = host.log_scale, tables.amin = host.amin;
    return tables;
}

template Tables<float> Plan::tables_at(const char*) const;
template Tables<double> Plan::tables_at(const char*) const;

bool Plan::is_supported(int device) const {
    if (!smooth_) return false;
    const int item = item_size(dtype_), n = host_.tables<float>().fft.n, bins = host_.tables<float>().bins;
    const auto most = static_cast<std::size_t>(pyemo::cuda::limits(device).shared_bytes);
    return SharedMemory(n, bins, host_.rows(), item).least() <= most;
}

}  // namespace pyemo::spectrogram::cuda
