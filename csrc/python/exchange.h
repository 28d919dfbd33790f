#pragma once

#include <Python.h>

#include "common/tensor_view.h"

// Tensors of PyTorch, read and made from C++ without a call of Python for each of their properties. Small kernels take
// no longer than such calls. Nothing of PyTorch is linked: tensors are read by DLPack's C exchange API, which PyTorch
// has from 2.10 on.
namespace pyemo::exchange {

// Whether nobody wants to see single operations: see pyemo/ops/direct.py, which says whom to ask. False before it has.
bool unwatched();

// Reads a plain tensor whose memory, the CPU's, holds what it stands for. False for anything else.
bool read(PyObject* object, TensorView& view);

// New references, or pybind11::error_already_set.
PyObject* empty_like(PyObject* tensor);
PyObject* new_empty(PyObject* tensor, const std::int64_t* sizes, int ndim);
bool requires_grad(PyObject* tensor);

}  // namespace pyemo::exchange
