#include "color_deconvolution/checks.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "common/error.h"

namespace pyemo::color {

namespace {

void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument(message);
}

void require_dtype(const TensorView& view, DType dtype, const char* what) {
    if (view.dtype != dtype) {
        throw DTypeError(std::string(what) + " must be " + name(dtype) + ", got " + view.describe());
    }
}

const char* name(Direction direction) {
    return direction == Direction::deconvolution ? "color_deconvolution" : "color_reconvolution";
}

bool supported(Direction direction, DType dtype) {
    return dtype != DType::int16 && (dtype != DType::uint8 || direction == Direction::deconvolution);
}

}  // namespace

Problem::Problem(Direction direction, const TensorView& input, int channel_dim, std::size_t coefficients,
                 const TensorView& output)
    : direction(direction), dtype(static_cast<int>(input.dtype)) {
    const std::string op = color::name(direction);
    require(coefficients == 3 || coefficients == 6 || coefficients == 9,
            op + ": the matrix must have 3, 6 or 9 elements, got " + std::to_string(coefficients));
    stains = static_cast<int>(coefficients) / kColors;
    in = inputs(direction, stains);
    out = outputs(direction, stains);
    require(channel_dim >= 0 && channel_dim < input.ndim && input.sizes[channel_dim] == in,
            op + ": expected " + std::to_string(in) + " channels in dimension " + std::to_string(channel_dim) +
                ", got " + input.describe());
    if (!supported(direction, input.dtype)) throw DTypeError(op + ": dtype not supported, got " + input.describe());
    bool same_shape = output.ndim == input.ndim;
    for (int d = 0; same_shape && d < input.ndim; ++d) {
        same_shape = output.sizes[d] == (d == channel_dim ? out : input.sizes[d]);
    }
    require(same_shape, op + ": output " + output.describe() + " does not fit input " + input.describe());
    require_dtype(output, input.dtype == DType::float64 ? DType::float64 : DType::float32,
                  "the output and its gradient");
}

double Problem::scale() const {
    return direction == Direction::deconvolution ? 1 / std::log2(kDarkest) : std::log2(kDarkest);
}

void check_gradient(Direction direction, const TensorView& input, const TensorView& grad_input) {
    bool fits = grad_input.ndim == input.ndim && input.dtype != DType::uint8;
    for (int d = 0; fits && d < input.ndim; ++d) fits = grad_input.sizes[d] == input.sizes[d];
    require(fits, std::string(name(direction)) + ": gradient " + grad_input.describe() + " does not fit input " +
                      input.describe());
    require_dtype(grad_input, input.dtype, "the gradient of the input");
}

std::array<float, 256> logarithms_of_bytes() {
    std::array<float, 256> values;
    for (int i = 0; i < 256; ++i) values[i] = static_cast<float>(std::log2(std::max(i / 255.0, kDarkest)));
    return values;
}

}  // namespace pyemo::color
