# The module pyemo/_cuda. Machine code of 8.0 runs on all of 8.x; what is newer than 9.0 compiles the PTX when it first runs.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 90)
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 11.8)
  message(FATAL_ERROR "pyemo: the CUDA kernels need CUDA 11.8 or newer, found ${CMAKE_CUDA_COMPILER_VERSION}; "
                      "-DPYEMO_CUDA=OFF leaves them out")
endif()
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
find_package(CUDAToolkit REQUIRED)

pybind11_add_module(_cuda NO_EXTRAS
  csrc/common/loop_nest.cc
  csrc/common/tensor_view.cc
  csrc/common/cuda/launch.cc
  csrc/common/cuda/sums.cu
  csrc/color_deconvolution/checks.cc
  csrc/color_deconvolution/cuda/backward.cu
  csrc/color_deconvolution/cuda/color_deconvolution.cc
  csrc/color_deconvolution/cuda/forward.cu
  csrc/python/cuda.cc
  csrc/python/cuda_color_deconvolution.cc
  csrc/python/cuda_spectrogram.cc
  csrc/python/cuda_window_attention.cc
  csrc/spectrogram/cuda/backward.cu
  csrc/spectrogram/cuda/forward.cu
  csrc/spectrogram/cuda/plan.cc
  csrc/spectrogram/cuda/spectrogram.cc
  csrc/spectrogram/fft_plan.cc
  csrc/spectrogram/geometry.cc
  csrc/spectrogram/plan.cc
  csrc/window_attention/checks.cc
  csrc/window_attention/cuda/backward.cu
  csrc/window_attention/cuda/forward.cu
  csrc/window_attention/cuda/general.cu
  csrc/window_attention/cuda/window_attention.cc
)
# Two of the architectures at a time.
target_compile_options(_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;--threads=2>")
target_link_libraries(_cuda PRIVATE CUDA::cudart_static)
install(TARGETS _cuda LIBRARY DESTINATION pyemo)
