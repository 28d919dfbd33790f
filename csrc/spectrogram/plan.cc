#include "spectrogram/plan.h"

#include <cmath>

#include "common/error.h"

namespace pyemo::spectrogram {

namespace {

const Settings& checked(const Settings& settings) {
    const auto require = [](bool condition, const char* message) {
        if (!condition) throw std::invalid_argument(std::string("spectrogram_slices: ") + message);
    };
    require(settings.n_fft >= 1 && settings.n_fft <= 1 << 20, "n_fft must be 1 to 1048576");
    require(settings.hop_length >= 1, "hop_length must be positive");
    require(settings.power > 0, "power must be positive");
    require(settings.amin > 0, "amin must be positive");
    require(!settings.top_db || *settings.top_db >= 0, "top_db must not be negative");
    return settings;
}

}  // namespace

Padding padding_of(const std::string& name) {
    if (name == "none") return Padding::none;
    if (name == "reflect") return Padding::reflect;
    if (name == "constant") return Padding::constant;
    if (name == "replicate") return Padding::replicate;
    if (name == "circular") return Padding::circular;
    throw std::invalid_argument("spectrogram_slices: unknown padding '" + name + "'");
}

template <class T>
Plan::Typed<T>::Typed(const Settings& settings) : fft(settings.n_fft % 2 ? settings.n_fft : settings.n_fft / 2) {
    tables.n_fft = settings.n_fft;
    tables.packed = settings.n_fft % 2 == 0;
    tables.bins = settings.n_fft / 2 + 1;
    tables.fft = fft.tables();
    for (int k = 0; k <= settings.n_fft / 4; ++k) {
        const double angle = -2 * std::acos(-1.0) * k / settings.n_fft;
        roots.push_back(static_cast<T>(std::cos(angle)));
        roots.push_back(static_cast<T>(std::sin(angle)));
    }
    tables.roots = roots.data();
    tables.power = settings.power;
    tables.log_scale = static_cast<T>(settings.log_scale);
    tables.amin = static_cast<T>(settings.amin);
}

Plan::Plan(const Settings& settings, const TensorView* filters)
    : settings(checked(settings)), single_(settings), double_(settings) {
    if (filters) add_filters(*filters);
}

void Plan::add_filters(const TensorView& filters) {
    if (filters.dtype != DType::float64 || filters.ndim != 2 || filters.sizes[1] != settings.n_fft / 2 + 1) {
        throw std::invalid_argument("spectrogram_slices: the filters must be float64 (filters, " +
                                    std::to_string(settings.n_fft / 2 + 1) + "), got " + filters.describe());
    }
    for (std::int64_t m = 0; m < filters.sizes[0]; ++m) {
        const auto weight = [&](int k) {
            return *reinterpret_cast<const double*>(filters.data + m * filters.byte_stride(0) +
                                                    k * filters.byte_stride(1));
        };
        int begin = 0, end = settings.n_fft / 2 + 1;
        while (begin < end && weight(begin) == 0) ++begin;
        while (begin < end && weight(end - 1) == 0) --end;
        filter_begin_.push_back(begin < end ? begin : 0);
        filter_length_.push_back(end - begin);
        for (int k = begin; k < end; ++k) {
            single_.weights.push_back(static_cast<float>(weight(k)));
            double_.weights.push_back(weight(k));
        }
    }
    const auto point = [this](auto& typed) {
        typed.tables.filters = static_cast<int>(filter_begin_.size());
        typed.tables.filter_begin = filter_begin_.data();
        typed.tables.filter_length = filter_length_.data();
        typed.tables.weights = typed.weights.data();
    };
    point(single_);
    point(double_);
}

std::int64_t Plan::frames(std::int64_t samples) const {
    const std::int64_t padded = samples + 2 * padding();
    return samples == 0 || padded < settings.n_fft ? 0 : 1 + (padded - settings.n_fft) / settings.hop_length;
}

}  // namespace pyemo::spectrogram
