#pragma once

#include <pybind11/pybind11.h>

#include "common/tensor_view.h"

// A tensor or array comes from Python as a tuple (address, dtype code, sizes, strides in elements).
namespace pyemo {

inline TensorView to_view(pybind11::handle argument) {
    if (!PyTuple_Check(argument.ptr()) || PyTuple_GET_SIZE(argument.ptr()) != 4) {
        throw pybind11::type_error("a tensor must be given as (address, dtype code, sizes, strides)");
    }
    const auto integer = [](PyObject* object) {
        const long long value = PyLong_AsLongLong(object);
        if (value == -1 && PyErr_Occurred()) throw pybind11::error_already_set();
        return value;
    };
    PyObject* const* field = PySequence_Fast_ITEMS(argument.ptr());
    PyObject *sizes = field[2], *strides = field[3];
    if (!PyTuple_Check(sizes) || !PyTuple_Check(strides) || PyTuple_GET_SIZE(sizes) != PyTuple_GET_SIZE(strides)) {
        throw pybind11::type_error("sizes and strides must be tuples of one length");
    }
    if (PyTuple_GET_SIZE(sizes) > kMaxDims) {
        throw pybind11::value_error("a tensor may have at most " + std::to_string(kMaxDims) + " dimensions, got " +
                                    std::to_string(PyTuple_GET_SIZE(sizes)));
    }
    const long long code = integer(field[1]);
    if (code < 0 || code >= kDTypeCount) throw pybind11::type_error("unknown dtype code " + std::to_string(code));

    TensorView view;
    view.data = reinterpret_cast<char*>(integer(field[0]));
    view.dtype = static_cast<DType>(code);
    view.ndim = static_cast<int>(PyTuple_GET_SIZE(sizes));
    for (int d = 0; d < view.ndim; ++d) {
        view.sizes[d] = integer(PyTuple_GET_ITEM(sizes, d));
        view.strides[d] = integer(PyTuple_GET_ITEM(strides, d));
    }
    return view;
}

}  // namespace pyemo

namespace pybind11::detail {

template <>
struct type_caster<pyemo::TensorView> {
    PYBIND11_TYPE_CASTER(pyemo::TensorView, const_name("tuple[int, int, tuple[int, ...], tuple[int, ...]]"));

    bool load(handle source, bool) {
        value = pyemo::to_view(source);
        return true;
    }
};

}  // namespace pybind11::detail
