#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/tensor_view.h"
#include "spectrogram/fft_plan.h"
#include "spectrogram/kernels.h"
#include "spectrogram/origin.h"

namespace pyemo::spectrogram {

// "none" or a name that torch.nn.functional.pad has.
Padding padding_of(const std::string& name);

struct Settings {
    int n_fft;
    int hop_length;
    Padding padding;
    double power;
    double log_scale;  // of the logarithm to base two; 0 for none
    double amin;
    std::optional<double> top_db;
};

// The settings and the tables that follow from them; unchanging, so any number of threads may use it.
class Plan {
  public:
    // filters: float64 (filters, n_fft / 2 + 1), or null.
    Plan(const Settings& settings, const TensorView* filters);
    Plan(const Plan&) = delete;

    const Settings settings;

    // Its window is null: that comes with each call.
    template <class T>
    const Tables<T>& tables() const;

    int rows() const { return single_.tables.rows(); }
    std::int64_t padding() const { return settings.padding == Padding::none ? 0 : settings.n_fft / 2; }
    std::int64_t frames(std::int64_t samples) const;

  private:
    template <class T>
    struct Typed {
        explicit Typed(const Settings& settings);

        FftPlan<T> fft;
        std::vector<T> roots, weights;
        Tables<T> tables{};
    };

    void add_filters(const TensorView& filters);

    std::vector<int> filter_begin_, filter_length_;
    Typed<float> single_;
    Typed<double> double_;
};

template <>
inline const Tables<float>& Plan::tables<float>() const {
    return single_.tables;
}
template <>
inline const Tables<double>& Plan::tables<double>() const {
    return double_.tables;
}

}  // namespace pyemo::spectrogram
