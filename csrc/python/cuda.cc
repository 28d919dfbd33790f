#include <pybind11/pybind11.h>

#include "common/cuda/launch.h"
#include "python/module.h"

namespace py = pybind11;

namespace pyemo {

void bind_cuda_color_deconvolution(py::module_& module);
void bind_cuda_window_attention(py::module_& module);
void bind_cuda_spectrogram(py::module_& module);

}  // namespace pyemo

PYBIND11_MODULE(_cuda, module) {
    using namespace pyemo;

    module.doc() =
        "CUDA kernels of pyemo.ops. Tensors are passed as (address, dtype code, sizes, strides in elements), where to "
        "as "
        "(device, stream). Nothing waits for the device or allocates on it.";
    set_up_module(module);
    module.def(
        "capability", [](int device) { return cuda::limits(device).capability; },
        "90 for a device of compute capability 9.0.");

    bind_cuda_color_deconvolution(module);
    bind_cuda_window_attention(module);
    bind_cuda_spectrogram(module);
}
