#pragma once

#include "common/scratch.h"
#include "common/tensor_view.h"
#include "dense/kernels.h"

namespace pyemo::dense {

// Some of the rows.
Rows slice(const Rows& rows, std::int64_t begin, std::int64_t count, DType dtype);

// The weights and the bias of a dense layer, as its kernel reads them.
class PackedLayer {
  public:
    static std::size_t bytes(DType dtype, std::int64_t inputs, std::int64_t outputs);
    static std::size_t scratch_bytes(DType dtype, std::int64_t inputs);

    // weight (outputs, inputs), bias (outputs,), which may be null; memory of as many bytes.
    PackedLayer(const TensorView& weight, const TensorView* bias, char* memory, int threads);

    // Of x, y, hidden and what stands between them; the rest is filled in.
    void compute(const Rows& rows, char* scratch) const { compute(rows, 0, panels_, scratch); }
    void compute(const Rows& rows, Scratch& scratch, int threads) const;

  private:
    void compute(Rows rows, std::int64_t panel, std::int64_t panels, char* scratch) const;

    const DType dtype_;
    const Layer& kernel_;
    const int inputs_, outputs_;
    const std::int64_t panels_;
    const std::size_t panel_bytes_;
    char* const weights_;
    float* const bias_;
};

// A layer of so few rows that its weights are better packed by the tasks that need them.
bool few_rows(DType dtype, std::int64_t rows);
void compute_few_rows(const TensorView& weight, const TensorView* bias, const Rows& rows, int threads);

}  // namespace pyemo::dense
