#include "color_deconvolution/color_deconvolution.h"

#include <cstring>
#include <numeric>
#include <optional>

#include "color_reference.h"
#include "problem.h"

namespace pyemo::sanitize {

namespace {

using color::Direction, color::kColors;

// A tensor's values with the dimension of the channels last, and back.
std::vector<double> channels_last(const std::vector<double>& values, const Sizes& sizes, int channel_dim, bool back) {
    std::int64_t outer = 1, inner = 1;
    const std::int64_t channels = sizes[channel_dim];
    for (int d = 0; d < static_cast<int>(sizes.size()); ++d) {
        if (d != channel_dim) (d < channel_dim ? outer : inner) *= sizes[d];
    }
    std::vector<double> moved(values.size());
    for (std::int64_t o = 0, at = 0; o < outer; ++o) {
        for (std::int64_t c = 0; c < channels; ++c) {
            for (std::int64_t i = 0; i < inner; ++i, ++at) {
                const std::int64_t last = (o * inner + i) * channels + c;
                back ? moved[at] = values[last] : moved[last] = values[at];
            }
        }
    }
    return moved;
}

class ColorProblem : public Problem {
  public:
    explicit ColorProblem(Random& random) {
        ColorMap& a = arguments_;
        a.direction = random.any_of({Direction::deconvolution, Direction::reconvolution});
        const bool deconvolution = a.direction == Direction::deconvolution;
        dtype_ = random.any_of({DType::float32, DType::float64, DType::bfloat16, DType::float16});
        if (deconvolution && random.one_in(3)) dtype_ = DType::uint8;
        bytes_ = dtype_ == DType::uint8;
        const int stains = random.between(1, kColors);
        a.inputs = color::inputs(a.direction, stains), a.outputs = color::outputs(a.direction, stains);
        a.clip = random.one_in(2);
        a.matrix.resize(a.inputs * a.outputs);
        for (double& x : a.matrix) x = random.uniform(deconvolution ? -2 : -0.2, deconvolution ? 2 : 1);

        Sizes input = draw_sizes(random), output = input;
        output[channel_dim_] = a.outputs;
        input_.emplace(dtype_, input, any_layout(random, input, {true, true}));
        input_->fill([&] { return draw_value(random, deconvolution); });
        a.input = channels_last(input_->values(), input, channel_dim_, false);
        for (double& x : a.input) x /= bytes_ ? 255 : 1;
        const DType wide = dtype_ == DType::float64 ? DType::float64 : DType::float32;
        const bool backward = !random.one_in(4);
        if (backward) {
            grad_output_.emplace(wide, output, any_layout(random, output, {true, true}));
            grad_output_->fill([&] { return random.uniform(-1, 1); });
            a.grad_output = channels_last(grad_output_->values(), output, channel_dim_, false);
        }

        const double tolerance = wide == DType::float64 ? 1e-14 : 3e-6;
        const Rounding storage = dtype_ == DType::bfloat16  ? Rounding{0x1p-8, 0}
                                 : dtype_ == DType::float16 ? Rounding{0x1p-11, 0x1p-25}
                                                            : Rounding{tolerance, 0};
        ColorExpected expected = color_map(a, tolerance, storage);
        const auto add = [&](const char* name, DType dtype, const Sizes& sizes, Expected pixels) {
            for (auto* values : {&pixels.values, &pixels.allowed}) {
                *values = channels_last(*values, sizes, channel_dim_, true);
            }
            results.push_back(
                {name, Tensor(dtype, sizes, any_layout(random, sizes, {true, false})), std::move(pixels)});
            return static_cast<int>(results.size()) - 1;
        };
        add("output", wide, output, std::move(expected.output));
        if (backward && !bytes_ && !random.one_in(4)) {
            grad_input_ = add("gradient of input", dtype_, input, std::move(expected.grad_input));
        }
        if (backward && (grad_input_ < 0 || !random.one_in(4))) {
            const Sizes elements{static_cast<std::int64_t>(a.matrix.size())};
            results.push_back({"gradient of matrix", Tensor(DType::float64, elements, contiguous(elements)),
                               std::move(expected.grad_matrix)});
            grad_matrix_ = static_cast<int>(results.size()) - 1;
        }
        threads_ = random.between(1, 2);
    }

    void run() override {
        const ColorMap& a = arguments_;
        color::forward(a.direction, input_->view(), channel_dim_, a.matrix, a.clip, results[0].tensor.view(), threads_);
        if (!grad_output_) return;
        std::vector<double> grad_matrix;
        color::backward(a.direction, grad_output_->view(), input_->view(), channel_dim_, a.matrix, a.clip,
                        grad_input_ < 0 ? nullptr : results[grad_input_].tensor.pointer(),
                        grad_matrix_ < 0 ? nullptr : &grad_matrix, threads_);
        if (grad_matrix_ < 0) return;
        std::size_t i = 0;
        results[grad_matrix_].tensor.fill([&] { return grad_matrix.at(i++); });
    }

    std::string describe() const override {
        const ColorMap& a = arguments_;
        return std::string(a.direction == Direction::deconvolution ? "deconvolution" : "reconvolution") + ", input " +
               input_->describe() + ", output " + results[0].tensor.describe() + ", channels in dimension " +
               std::to_string(channel_dim_) + (a.clip ? ", clipped" : "") + ", threads " + std::to_string(threads_);
    }

  private:
    Sizes draw_sizes(Random& random) {
        Sizes sizes;
        const bool large = random.one_in(12);  // more than one thread takes at a time
        for (int dims = random.between(1, 3); dims > 0; --dims) sizes.push_back(random.between(1, 40));
        if (large) sizes = {random.between(100, 180), random.between(100, 180)};
        channel_dim_ = random.between(0, static_cast<int>(sizes.size()));
        sizes.insert(sizes.begin() + channel_dim_, arguments_.inputs);
        return sizes;
    }

    // Gradients of colours grow with 1 / colour, which float16 has no room for all of.
    double draw_value(Random& random, bool deconvolution) const {
        if (bytes_) return random.one_in(8) ? random.any_of({0, 255}) : random.between(0, 255);
        if (!deconvolution) return random.one_in(20) ? 0 : random.uniform(-0.1, 1.1);
        return random.one_in(10) ? random.any_of({0.0, 1.0, -0.25}) : random.uniform(0.004, 1.2);
    }

    DType dtype_;
    bool bytes_;
    ColorMap arguments_;
    int channel_dim_;
    std::optional<Tensor> input_, grad_output_;
    int grad_input_ = -1, grad_matrix_ = -1;  // among the results, or -1
    int threads_;
};

}  // namespace

std::unique_ptr<Problem> draw_color_deconvolution(Random& random) { return std::make_unique<ColorProblem>(random); }

}  // namespace pyemo::sanitize
