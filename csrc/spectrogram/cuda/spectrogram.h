#pragma once

#include <string>
#include <vector>

#include "common/cuda/launch.h"
#include "spectrogram/cuda/kernels.h"
#include "spectrogram/spectrogram.h"

namespace pyemo::spectrogram::cuda {

using pyemo::cuda::Queue;

// Settings, and the tables that kernels of one type want on the device: the caller brings them there.
class Plan {
  public:
    // `dtype`: float32 or float64, what is computed in.
    Plan(const Settings& settings, const TensorView* filters, DType dtype);

    // Whether the device's kernels take frames of this size: products of 2, 3 and 5 that fit into shared memory.
    bool is_supported(int device) const;

    const spectrogram::Plan& host() const { return host_; }
    DType dtype() const { return dtype_; }
    const std::vector<char>& tables() const { return bytes_; }

    // The tables as the kernels see them, their copy on the device at `address`.
    template <class T>
    Tables<T> tables_at(const char* address) const;

  private:
    template <class T>
    void fill();
    template <class U>
    std::size_t add(const std::vector<U>& values);

    spectrogram::Plan host_;
    DType dtype_;
    bool smooth_;
    std::vector<char> bytes_;
    std::size_t twiddles_[kMaxPasses] = {};
    std::size_t position_ = 0, roots_ = 0, filter_begin_ = 0, filter_length_ = 0, filter_weights_ = 0, weights_ = 0,
                column_begin_ = 0, column_filters_ = 0, column_weights_ = 0;
};

// As spectrogram::forward and backward, on tensors of the queue's device; the window is of the plan's dtype. `tables`:
// the plan's, on the device, aligned to 16 bytes. `edges`: (waveforms, 2 * padding) of that dtype to work in.
void forward(const Queue& queue, const Plan& plan, const TensorView& tables, const TensorView& waveform,
             const TensorView& window, const Slicing& slicing, const TensorView& output);
void backward(const Queue& queue, const Plan& plan, const TensorView& tables, const TensorView& grad_output,
              const TensorView& waveform, const TensorView& window, const Slicing& slicing,
              const TensorView& grad_waveform, const TensorView& edges);

}  // namespace pyemo::spectrogram::cuda
