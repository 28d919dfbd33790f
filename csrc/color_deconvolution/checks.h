// What the CPU's and the GPU's kernels share on the host.
#pragma once

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "color_deconvolution/kernels.h"
#include "common/loop_nest.h"
#include "common/tensor_view.h"

namespace pyemo::color {

// The arguments that both passes have, checked: throws std::invalid_argument or DTypeError.
struct Problem {
    Direction direction;
    int dtype, stains, in, out;

    // `coefficients`: of the matrix. `output`: or its gradient.
    Problem(Direction direction, const TensorView& input, int channel_dim, std::size_t coefficients,
            const TensorView& output);

    // Of the matrix, from the unit log2(1e-6) to base two.
    double scale() const;
};

// Throws if `grad_input` does not fit the input.
void check_gradient(Direction direction, const TensorView& input, const TensorView& grad_input);

// log2(max(i / 255, kDarkest)) for each byte i.
std::array<float, 256> logarithms_of_bytes();

// The loops over pixels: all dimensions but the channels'.
template <int kArrays>
LoopNest<kArrays> pixel_loops(int channel_dim, const std::array<const TensorView*, kArrays>& views) {
    std::vector<typename LoopNest<kArrays>::Dim> dims;
    for (int d = 0; d < views[0]->ndim; ++d) {
        if (d == channel_dim) continue;
        typename LoopNest<kArrays>::Dim dim{views[0]->sizes[d], {}};
        for (int a = 0; a < kArrays; ++a) dim.strides[a] = views[a]->byte_stride(d);
        dims.push_back(dim);
    }
    return LoopNest<kArrays>(std::move(dims));
}

}  // namespace pyemo::color
