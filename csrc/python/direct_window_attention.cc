// Window attention of tensors as they come from Python: see exchange.h. Whatever is not plain is refused, with None,
// and left to pyemo/ops/windows.py, which converts what can be, and whose errors are clearer.

#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "python/exchange.h"
#include "window_attention/checks.h"

namespace py = pybind11;

namespace pyemo {

namespace {

struct Refused {};

int to_int(PyObject* object) {
    int overflow = 0;
    const long value = PyLong_Check(object) ? PyLong_AsLongAndOverflow(object, &overflow) : -1;
    if (value < 0 || overflow || value > std::numeric_limits<int>::max()) throw Refused();
    return static_cast<int>(value);
}

// Of an integer, or of two.
window::Extent to_extent(PyObject* object) {
    if (PyLong_Check(object)) return {to_int(object), to_int(object)};
    if (PyTuple_Check(object) && PyTuple_GET_SIZE(object) == 2) {
        return {to_int(PyTuple_GET_ITEM(object, 0)), to_int(PyTuple_GET_ITEM(object, 1))};
    }
    if (PyList_Check(object) && PyList_GET_SIZE(object) == 2) {
        return {to_int(PyList_GET_ITEM(object, 0)), to_int(PyList_GET_ITEM(object, 1))};
    }
    throw Refused();
}

void read(PyObject* object, TensorView& view) {
    if (!exchange::read(object, view)) throw Refused();
}

// The operation's arguments: qkv, bias, mask, logit_scale, heads, window, shift, scale, threads.
struct Call {
    static constexpr int kArguments = 9;

    PyObject* const* objects;
    TensorView qkv, bias, mask, logit_scale;
    window::Arguments arguments;

    explicit Call(PyObject* const* objects) : objects(objects) {
        read(objects[0], qkv);
        arguments.qkv = &qkv;
        arguments.bias = read_optional(objects[1], bias);
        arguments.mask = read_optional(objects[2], mask);
        arguments.logit_scale = read_optional(objects[3], logit_scale);
        if (qkv.ndim != 4 || qkv.sizes[3] == 0) throw Refused();
        arguments.heads = to_int(objects[4]);
        arguments.window = to_extent(objects[5]);
        arguments.shift = to_extent(objects[6]);
        arguments.scale = to_scale(objects[7]);
        arguments.threads = to_int(objects[8]);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    static const TensorView* read_optional(PyObject* object, TensorView& view) {
        if (object == Py_None) return nullptr;
        read(object, view);
        return &view;
    }
    double to_scale(PyObject* object) const {
        if (object == Py_None) {
            if (arguments.heads < 1) throw Refused();
            const std::int64_t head_dim = qkv.sizes[3] / (3 * static_cast<std::int64_t>(arguments.heads));
            return arguments.logit_scale ? 1 : std::pow(static_cast<double>(head_dim), -0.5);
        }
        if (!PyFloat_CheckExact(object)) throw Refused();
        return PyFloat_AS_DOUBLE(object);
    }
    bool wants_grad() const {
        bool wants = false;
        for (int i : {0, 1, 3}) wants = wants || (objects[i] != Py_None && exchange::requires_grad(objects[i]));
        return wants;
    }
};

// (B, H, W, C), contiguous; without memory.
TensorView plan_output(const TensorView& qkv) {
    TensorView output;
    output.dtype = qkv.dtype;
    output.ndim = 4;
    std::copy_n(qkv.sizes, 3, output.sizes);
    output.sizes[3] = qkv.sizes[3] / 3;
    std::int64_t stride = 1;
    for (int d = 3; d >= 0; --d) output.strides[d] = stride, stride *= std::max<std::int64_t>(output.sizes[d], 1);
    return output;
}

py::object new_tensor(PyObject* like, TensorView& view) {
    py::object tensor = py::reinterpret_steal<py::object>(exchange::new_empty(like, view.sizes, view.ndim));
    read(tensor.ptr(), view);
    return tensor;
}

// (..., grad_enabled): the output, or True if a gradient is to be recorded of it.
PyObject* forward(PyObject* const* objects, Py_ssize_t count) {
    if (count != Call::kArguments + 1 || !exchange::unwatched()) throw Refused();
    const Call call(objects);
    TensorView output = plan_output(call.qkv);
    window::make_problem(call.arguments, output, "the output");
    if (objects[Call::kArguments] == Py_True) {
        if (objects[2] != Py_None && exchange::requires_grad(objects[2])) throw Refused();
        if (call.wants_grad()) Py_RETURN_TRUE;
    }
    py::object result = new_tensor(objects[0], output);
    {
        const py::gil_scoped_release release;
        window::forward(call.arguments, output);
    }
    return result.release().ptr();
}

// The output, and what the backward pass wants to be kept, or None.
PyObject* learn(PyObject* const* objects, Py_ssize_t count) {
    if (count != Call::kArguments || !exchange::unwatched()) throw Refused();
    Call call(objects);
    TensorView output = plan_output(call.qkv);
    const std::size_t bytes = window::kept_bytes(call.arguments, output);
    py::object result = new_tensor(objects[0], output), kept = py::none();
    if (bytes) {
        TensorView view;
        view.ndim = 1;
        view.sizes[0] = static_cast<std::int64_t>(bytes) / item_size(call.qkv.dtype);
        kept = new_tensor(objects[0], view);
        call.arguments.kept = view.data;
    }
    {
        const py::gil_scoped_release release;
        window::forward(call.arguments, output);
    }
    return PyTuple_Pack(2, result.ptr(), kept.ptr());
}

// (grad, ..., wants_bias, wants_logit_scale, kept): the gradients, None where not wanted.
PyObject* backward(PyObject* const* objects, Py_ssize_t count) {
    if (count != Call::kArguments + 4 || !exchange::unwatched()) throw Refused();
    TensorView grad;
    read(objects[0], grad);
    Call call(objects + 1);
    PyObject* const kept = objects[Call::kArguments + 3];
    if (kept != Py_None) {
        TensorView view;
        read(kept, view);
        // Another set of kernels, since then, keeps something else.
        const std::size_t bytes = window::kept_bytes(call.arguments, grad);
        if (view.ndim == 1 && view.is_contiguous() && reinterpret_cast<std::uintptr_t>(view.data) % 8 == 0 &&
            view.sizes[0] * static_cast<std::size_t>(item_size(view.dtype)) == bytes) {
            call.arguments.kept = view.data;
        }
    }
    const TensorView* const likes[] = {&call.qkv, call.arguments.bias, call.arguments.logit_scale};
    PyObject* const sources[] = {objects[1], objects[2], objects[4]};
    const bool wanted[] = {true, objects[Call::kArguments + 1] == Py_True, objects[Call::kArguments + 2] == Py_True};
    std::array<TensorView, 3> views;
    std::array<py::object, 3> grads;
    for (int i = 0; i < 3; ++i) {
        if (!wanted[i] || !likes[i]) continue;
        if (!likes[i]->is_contiguous()) throw Refused();
        grads[i] = py::reinterpret_steal<py::object>(exchange::empty_like(sources[i]));
        read(grads[i].ptr(), views[i]);
    }
    {
        const py::gil_scoped_release release;
        window::backward(call.arguments, grad, views[0], grads[1] ? &views[1] : nullptr,
                         grads[2] ? &views[2] : nullptr);
    }
    PyObject* const result = PyTuple_New(3);
    if (!result) throw py::error_already_set();
    for (int i = 0; i < 3; ++i) {
        PyTuple_SET_ITEM(result, i, grads[i] ? grads[i].release().ptr() : py::none().release().ptr());
    }
    return result;
}

template <PyObject* (*function)(PyObject* const*, Py_ssize_t)>
PyObject* guarded(PyObject*, PyObject* const* objects, Py_ssize_t count) {
    try {
        return function(objects, count);
    } catch (const Refused&) {
        Py_RETURN_NONE;
    } catch (const std::invalid_argument&) {
        Py_RETURN_NONE;
    } catch (py::error_already_set& error) {
        error.restore();
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    }
    return nullptr;
}

template <PyObject* (*function)(PyObject* const*, Py_ssize_t)>
constexpr PyMethodDef method(const char* name, const char* doc) {
    return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<function>)), METH_FASTCALL, doc};
}

}  // namespace

void bind_direct_window_attention(py::module_& module) {
    static PyMethodDef methods[] = {
        method<forward>(
            "direct_window_attention",
            "(qkv, bias, mask, logit_scale, heads, window, shift, scale, threads, grad_enabled): the output; True if a "
            "gradient is to be recorded; None if it is not for this function."),
        method<learn>(
            "direct_window_attention_learning",
            "(qkv, bias, mask, logit_scale, heads, window, shift, scale, threads): the output, and a tensor, or "
            "None, for the backward pass; None if it is not for this function."),
        method<backward>("direct_window_attention_backward",
                         "(grad, qkv, bias, mask, logit_scale, heads, window, shift, scale, threads, wants_bias, "
                         "wants_logit_scale, kept): "
                         "the gradients of qkv, bias and logit_scale; None if it is not for this function."),
        {}};
    if (PyModule_AddFunctions(module.ptr(), methods)) throw py::error_already_set();
}

}  // namespace pyemo
