#pragma once

#include <pybind11/pybind11.h>

#include "common/cuda/launch.h"

// Where work goes comes from Python as a tuple (device, stream): the index and the address that torch has of them.
namespace pybind11::detail {

template <>
struct type_caster<pyemo::cuda::Queue> {
    PYBIND11_TYPE_CASTER(pyemo::cuda::Queue, const_name("tuple[int, int]"));

    bool load(handle source, bool) {
        if (!PyTuple_Check(source.ptr()) || PyTuple_GET_SIZE(source.ptr()) != 2) return false;
        const long device = PyLong_AsLong(PyTuple_GET_ITEM(source.ptr(), 0));
        void* const stream = PyLong_AsVoidPtr(PyTuple_GET_ITEM(source.ptr(), 1));
        if (PyErr_Occurred()) throw error_already_set();
        value = {static_cast<int>(device), reinterpret_cast<cudaStream_t>(stream)};
        return true;
    }
};

}  // namespace pybind11::detail
