// The CUDA kernels of colour deconvolution, as the host code sees them.
#pragma once

#include "color_deconvolution/kernels.h"
#include "common/cuda/launch.h"

namespace pyemo::color::cuda {

using pyemo::cuda::Queue;

constexpr int kMostLoops = 12;

// Nested loops over the pixels of several arrays; innermost last.
template <int kArrays>
struct Loops {
    int dims;
    std::int64_t count, sizes[kMostLoops];
    std::ptrdiff_t strides[kArrays][kMostLoops];  // bytes
};

// The matrix comes with the launch, or lies on the device, in units of log2(1e-6) still.
struct Matrix {
    double values[kColors * kColors];
    const double* on_device;
    double scale;
};

// How vectors of 4 pixels lie: a plane a channel, or the channels of a pixel side by side.
enum class Pattern : int { any, planes, packed };

struct ForwardWork {
    Direction direction;
    DType dtype;
    int stains;
    Pattern pattern;
    bool clip;
    Matrix matrix;
    Loops<2> loops;  // output, input
    char* output;
    const char* input;
    std::ptrdiff_t output_channel, input_channel;
    float log2_byte[256];
};

struct BackwardWork {
    Direction direction;
    DType dtype;
    int stains;
    Pattern pattern;
    bool clip;
    Matrix matrix;
    Loops<3> loops;  // input, gradient of the output, gradient of the input
    const char *input, *grad_output;
    char* grad_input;  // or null
    std::ptrdiff_t input_channel, grad_output_channel, grad_input_channel;
    double* sums;  // (blocks, 9) of the matrix's gradient, or null
};

constexpr int kThreads = 512;
constexpr int kBackwardThreads = 256;

// Blocks that go through all pixels.
void launch_forward(const Queue& queue, int blocks, const ForwardWork& work);
void launch_backward(const Queue& queue, int blocks, const BackwardWork& work);

}  // namespace pyemo::color::cuda
