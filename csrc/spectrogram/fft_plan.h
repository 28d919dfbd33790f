#pragma once

#include <memory>
#include <vector>

#include "spectrogram/fft_tables.h"

namespace pyemo::spectrogram {

// Owns the tables of one transform. T is float or double; both are computed in float64.
template <class T>
class FftPlan {
  public:
    explicit FftPlan(int n);
    FftPlan(const FftPlan&) = delete;

    const FftTables<T>& tables() const { return tables_; }

  private:
    void plan_passes(const std::vector<int>& radices);
    void plan_convolution();

    FftTables<T> tables_{};
    std::vector<T> twiddles_[kMaxPasses];
    std::vector<int> position_;
    std::unique_ptr<FftPlan> convolution_;
    std::vector<T> chirp_, chirp_spectrum_;
};

extern template class FftPlan<float>;
extern template class FftPlan<double>;

}  // namespace pyemo::spectrogram
