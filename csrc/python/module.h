// What the modules have in common.
#pragma once

#include <pybind11/pybind11.h>

#include "common/dtype.h"
#include "common/error.h"

namespace pyemo {

// Errors of a wrong dtype become TypeError; `dtypes` has the codes that stand for dtypes in the modules' arguments.
inline void set_up_module(pybind11::module_& module) {
    pybind11::register_local_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const DTypeError& error) {
            PyErr_SetString(PyExc_TypeError, error.what());
        }
    });
    pybind11::dict dtypes;
    for (int code = 0; code < kDTypeCount; ++code) dtypes[name(static_cast<DType>(code))] = code;
    module.attr("dtypes") = dtypes;
}

}  // namespace pyemo
