#include <pybind11/pybind11.h>

#include "common/isa.h"
#include "common/parallel.h"
#include "python/module.h"

namespace py = pybind11;

namespace pyemo {

void bind_color_deconvolution(py::module_& module);
void bind_dense(py::module_& module);
void bind_direct_window_attention(py::module_& module);
void bind_exchange(py::module_& module);
void bind_layer_norm(py::module_& module);
void bind_window_attention(py::module_& module);
void bind_spectrogram(py::module_& module);

}  // namespace pyemo

PYBIND11_MODULE(_native, module) {
    using namespace pyemo;

    module.doc() =
        "CPU kernels of pyemo.ops. Tensors are passed as (address, dtype code, sizes, strides in elements); the "
        "direct_ "
        "functions take those of PyTorch as they are.";
    set_up_module(module);

    active_isa();  // an impossible PYEMO_ISA is an error of the import
    module.def("isa", [] { return name(active_isa()); }, "The instruction set in use.");
    module.def("set_isa", &set_active_isa, "Use another instruction set from now on.");
    module.def(
        "supported_isas",
        [] {
            py::list names;
            for (Isa isa : supported_isas()) names.append(name(isa));
            return names;
        },
        "The instruction sets that this build and this machine have, poorest first.");
    module.def("has_parallel_runtime", &has_parallel_runtime, "Whether torch's OpenMP runtime was found.");

    bind_color_deconvolution(module);
    bind_dense(module);
    bind_direct_window_attention(module);
    bind_exchange(module);
    bind_layer_norm(module);
    bind_window_attention(module);
    bind_spectrogram(module);
}
