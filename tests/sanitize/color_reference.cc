#include "color_reference.h"

#include <algorithm>
#include <cmath>

namespace pyemo::sanitize {

namespace {

constexpr double kDarkest = 1e-6;

// One pixel's values on their way; errors are those that rounding may cause.
struct Pixel {
    const ColorMap& a;
    const double tolerance;
    const double* input;
    double logs[color::kColors];  // what the matrix is applied to, in its units
    double mixed[color::kColors], mixed_error[color::kColors];
    double output[color::kColors];

    bool deconvolution() const { return a.direction == color::Direction::deconvolution; }

    Pixel(const ColorMap& a, double tolerance, const double* input) : a(a), tolerance(tolerance), input(input) {
        const double unit = std::log(kDarkest);
        for (int i = 0; i < a.inputs; ++i) {
            logs[i] = deconvolution() ? std::log(std::max(input[i], kDarkest)) / unit : input[i];
        }
        for (int o = 0; o < a.outputs; ++o) {
            mixed[o] = mixed_error[o] = 0;
            for (int i = 0; i < a.inputs; ++i) {
                const double weight = a.matrix[i * a.outputs + o];
                mixed[o] += logs[i] * weight;
                // Of a logarithm near zero, the error is a share of its unit.
                mixed_error[o] += tolerance * std::fabs(weight) * (std::fabs(logs[i]) + (deconvolution() ? 1 : 0));
            }
            output[o] = deconvolution() ? mixed[o] : std::exp(unit * mixed[o]);
        }
    }

    double output_error(int o) const {
        if (deconvolution()) return mixed_error[o];
        return output[o] * (tolerance - std::log(kDarkest) * mixed_error[o]);
    }
    bool is_clipped(int o) const { return a.clip && (deconvolution() ? mixed[o] < 0 : output[o] > 1); }
    // Whether rounding decides.
    bool may_be_clipped(int o) const { return a.clip && std::fabs(mixed[o]) <= mixed_error[o]; }
};

}  // namespace

ColorExpected color_map(const ColorMap& a, double tolerance, Rounding storage) {
    ColorExpected expected;
    Expected& grad_matrix = expected.grad_matrix;
    grad_matrix.values.assign(a.matrix.size(), 0), grad_matrix.allowed.assign(a.matrix.size(), 0);
    const double unit = std::log(kDarkest);
    const std::size_t pixels = a.input.size() / a.inputs;
    for (std::size_t p = 0; p < pixels; ++p) {
        const Pixel pixel(a, tolerance, &a.input[p * a.inputs]);
        double grad[color::kColors], error[color::kColors];  // of what the matrix gives
        for (int o = 0; o < a.outputs; ++o) {
            const bool clipped = pixel.is_clipped(o);
            expected.output.values.push_back(!clipped ? pixel.output[o] : pixel.deconvolution() ? 0 : 1);
            expected.output.allowed.push_back(pixel.output_error(o));
            if (a.grad_output.empty()) continue;
            double g = a.grad_output[p * a.outputs + o], e = tolerance * std::fabs(g);
            if (!pixel.deconvolution()) {
                e = std::fabs(g * unit) * pixel.output_error(o) + e * std::fabs(unit) * pixel.output[o];
                g *= unit * pixel.output[o];
            }
            if (pixel.may_be_clipped(o)) e += std::fabs(g);
            grad[o] = clipped ? 0 : g, error[o] = clipped && !pixel.may_be_clipped(o) ? 0 : e;
        }
        for (int i = 0; !a.grad_output.empty() && i < a.inputs; ++i) {
            double sum = 0, allowed = 0;
            for (int o = 0; o < a.outputs; ++o) {
                const double weight = a.matrix[i * a.outputs + o];
                sum += weight * grad[o];
                allowed += std::fabs(weight) * (error[o] + tolerance * std::fabs(grad[o]));
                const double x = pixel.logs[i];
                grad_matrix.values[i * a.outputs + o] += x * grad[o];
                grad_matrix.allowed[i * a.outputs + o] +=
                    std::fabs(x) * error[o] +
                    tolerance * std::fabs(grad[o]) * (std::fabs(x) + (pixel.deconvolution() ? 1 : 0));
            }
            if (pixel.deconvolution()) {
                const double slope = pixel.input[i] < kDarkest ? 0 : 1 / (pixel.input[i] * unit);
                sum *= slope, allowed *= std::fabs(slope);
            }
            expected.grad_input.values.push_back(sum);
            expected.grad_input.allowed.push_back(allowed + storage.share * std::fabs(sum) + storage.step);
        }
    }
    return expected;
}

}  // namespace pyemo::sanitize
