#include "python/exchange.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace py = pybind11;

namespace pyemo {

namespace exchange {

namespace {

// The part of DLPack's binary interface, version 1, that is used here: https://dmlc.github.io/dlpack/latest/c_api.html
struct Device {
    std::int32_t type, index;
};
struct DataType {
    std::uint8_t code, bits;
    std::uint16_t lanes;
};
struct Tensor {
    void* data;
    Device device;
    std::int32_t ndim;
    DataType dtype;
    std::int64_t *shape, *strides;
    std::uint64_t byte_offset;
};
struct Api {
    std::uint32_t major, minor;
    const Api* previous;
    void *allocate, *managed_from_object, *object_from_managed;
    int (*tensor_from_object)(void* object, Tensor* tensor);
    void* current_stream;
};
constexpr const char* kCapsule = "dlpack_exchange_api";
constexpr std::uint32_t kMajor = 1;
constexpr std::int32_t kCpu = 1;
enum Code : int { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4 };

// What Python says once; objects are never given back.
struct Torch {
    decltype(Api::tensor_from_object) tensor_from_object = nullptr;
    std::vector<PyObject*> types, watchers, flags;
    PyObject* empty_like = nullptr;
    PyObject *new_empty = nullptr, *requires_grad = nullptr;  // names
};

Torch& torch() {
    static Torch torch;
    return torch;
}

std::optional<DType> dtype_of(DataType type) {
    if (type.lanes != 1) return std::nullopt;
    const auto is = [&](int code, int bits) { return type.code == code && type.bits == bits; };
    if (is(kFloat, 32)) return DType::float32;
    if (is(kBfloat, 16)) return DType::bfloat16;
    if (is(kFloat, 16)) return DType::float16;
    if (is(kFloat, 64)) return DType::float64;
    if (is(kUInt, 8)) return DType::uint8;
    if (is(kInt, 16)) return DType::int16;
    return std::nullopt;
}

PyObject* checked(PyObject* object) {
    if (!object) throw py::error_already_set();
    return object;
}

// Whether it is True, or an integer other than 0.
bool truth(PyObject* answer) {
    const int truth = answer == Py_False ? 0 : answer == Py_True ? 1 : PyObject_IsTrue(checked(answer));
    Py_DECREF(answer);
    if (truth < 0) throw py::error_already_set();
    return truth;
}

std::vector<PyObject*> kept(const py::tuple& objects) {
    std::vector<PyObject*> kept;
    for (const py::handle object : objects) kept.push_back(object.inc_ref().ptr());
    return kept;
}

bool connect(const py::capsule& capsule, const py::tuple& types, const py::tuple& watchers, const py::tuple& flags,
             const py::object& empty_like) {
    auto* api = static_cast<const Api*>(PyCapsule_GetPointer(capsule.ptr(), kCapsule));
    if (!api) throw py::error_already_set();
    while (api && api->major != kMajor) api = api->previous;
    if (!api || !api->tensor_from_object) return false;
    torch() = {api->tensor_from_object,
               kept(types),
               kept(watchers),
               kept(flags),
               py::handle(empty_like).inc_ref().ptr(),
               PyUnicode_InternFromString("new_empty"),
               PyUnicode_InternFromString("requires_grad")};
    return true;
}

}  // namespace

bool unwatched() {
    const Torch& known = torch();
    return known.tensor_from_object &&
           std::none_of(known.watchers.begin(), known.watchers.end(),
                        [](PyObject* watcher) { return truth(PyObject_CallNoArgs(watcher)); });
}

bool read(PyObject* object, TensorView& view) {
    const Torch& known = torch();
    PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(object));
    if (std::find(known.types.begin(), known.types.end(), type) == known.types.end()) return false;
    Tensor tensor;
    if (known.tensor_from_object(object, &tensor)) {
        PyErr_Clear();
        return false;
    }
    const std::optional<DType> dtype = dtype_of(tensor.dtype);
    if (tensor.device.type != kCpu || !dtype || tensor.ndim > kMaxDims) return false;
    for (PyObject* flag : known.flags) {
        if (truth(PyObject_CallOneArg(flag, object))) return false;
    }
    view.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    view.dtype = *dtype;
    view.ndim = tensor.ndim;
    std::copy_n(tensor.shape, tensor.ndim, view.sizes);
    std::copy_n(tensor.strides, tensor.ndim, view.strides);
    return true;
}

PyObject* empty_like(PyObject* tensor) { return checked(PyObject_CallOneArg(torch().empty_like, tensor)); }

PyObject* new_empty(PyObject* tensor, const std::int64_t* sizes, int ndim) {
    PyObject* arguments[1 + kMaxDims] = {tensor};
    bool complete = true;
    for (int d = 0; d < ndim; ++d) complete = (arguments[1 + d] = PyLong_FromLongLong(sizes[d])) && complete;
    PyObject* const made =
        complete ? PyObject_VectorcallMethod(torch().new_empty, arguments, 1 + ndim, nullptr) : nullptr;
    for (int d = 0; d < ndim; ++d) Py_XDECREF(arguments[1 + d]);
    return checked(made);
}

bool requires_grad(PyObject* tensor) { return truth(PyObject_GetAttr(tensor, torch().requires_grad)); }

}  // namespace exchange

void bind_exchange(py::module_& module) {
    module.def(
        "connect", exchange::connect, py::arg("api"), py::arg("types"), py::arg("watchers"), py::arg("flags"),
        py::arg("empty_like"),
        "How to read PyTorch's tensors (Tensor.__dlpack_c_exchange_api__), of which exact types; what to call to learn "
        "whether somebody watches single operations; which methods say that a tensor's memory does not hold its "
        "values.");
}

}  // namespace pyemo
