#pragma once

#include "common/tensor_view.h"
#include "dense/kernels.h"

// Dense layers and MLPs. All tensors of a call are of one dtype.
namespace pyemo::dense {

// Whether there are kernels for a dtype on the instruction set in use.
bool has_gelu(DType dtype);
bool has_weight_gradient(DType dtype);
bool has_layer(DType dtype);

// y (rows, outputs) = then(x w^T + bias) of x (rows, inputs), weight (outputs, inputs), whose rows or columns stand
// side by side, and bias (outputs,), which may be null. `hidden`, as y, of a GELU only: what it is given, written
// unless null. With Then::gelu_backward it is read, and the products are multiplied by the GELU's derivative there.
// Does not depend on the number of threads.
void layer(const TensorView& x, const TensorView& weight, const TensorView* bias, Then then, const TensorView& y,
           const TensorView* hidden, int threads);

// y (rows, outputs) = then(x w1^T + bias1) w2^T + bias2, likewise, without the memory for all hidden activations.
void feed_forward(const TensorView& x, const TensorView& weight1, const TensorView* bias1, Then then,
                  const TensorView& weight2, const TensorView* bias2, const TensorView& y, int threads);

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
