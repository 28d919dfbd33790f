#pragma once

#include "common/tensor_view.h"

// What PyTorch and oneDNN leave slow in the training of dense layers and MLPs. All tensors of a call are of one dtype.
namespace pyemo::dense {

// Whether there are kernels for a dtype on the instruction set in use.
bool has_gelu(DType dtype);
bool has_weight_gradient(DType dtype);

// y = gelu(x), both contiguous.
void gelu(const TensorView& x, const TensorView& y, int threads);

// dx = dy * gelu'(x), each (rows, columns), contiguous. `grad_bias`: dx summed over the rows (columns,); may be null.
void gelu_backward(const TensorView& dy, const TensorView& x, const TensorView& dx, const TensorView* grad_bias,
                   int threads);

// grad_weight (outputs, inputs) = dy^T x of dy (rows, outputs) and x (rows, inputs), whose columns stand side by side.
// `grad_bias`: dy summed over the rows (outputs,); may be null. Does not depend on the number of threads.
void weight_gradient(const TensorView& dy, const TensorView& x, const TensorView& grad_weight,
                     const TensorView* grad_bias, int threads);

}  // namespace pyemo::dense
