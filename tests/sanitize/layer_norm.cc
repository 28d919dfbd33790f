#include "layer_norm/layer_norm.h"

#include <cmath>
#include <optional>

#include "problem.h"

namespace pyemo::sanitize {

namespace {

double rounding(DType dtype) { return dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-23; }

// How large the error of a sum of so many floats may be, as a share of the sum of their magnitudes. Terms that are all
// alike may be rounded the same way each time.
double share(std::int64_t terms) { return 0x1p-24 * (8 + static_cast<double>(terms)); }

constexpr int kLeastLanes = 4;  // that the sums of a row are made in

class LayerNormProblem : public Problem {
  public:
    explicit LayerNormProblem(Random& random)
        : dtype_(random.any_of({DType::float32, DType::bfloat16})),
          rows_(random.between(1, 60)),
          channels_(random.between(1, 150)) {
        if (random.one_in(6)) rows_ = random.between(500, 1000);  // more than one task
        if (random.one_in(12))
            rows_ = random.between(1, 3), channels_ = random.between(33'000, 40'000);  // a task a row
        const Sizes sizes{rows_, channels_};
        const auto map = [&](std::optional<Tensor>& tensor) {
            tensor.emplace(dtype_, sizes, any_layout(random, sizes, {false, true}));
        };
        map(x_), map(dy_);
        fill_input(random);
        dy_->fill([&] { return random.uniform(-1, 1); });
        vector(random, weight_, -2, 2);
        vector(random, bias_, -1, 1);
        eps_ = random.any_of({1e-5, 1e-6, 1e-3});
        threads_ = random.between(1, 2);
        expect_forward(random);
        expect_backward(random);
    }

    void run() override {
        layer_norm::forward(x_->view(), pointer(weight_), pointer(bias_), eps_, results[0].tensor.view(), result(mean_),
                            result(scale_), threads_);
        layer_norm::backward(dy_->view(), x_->view(), pointer(weight_), given_mean_->view(), given_scale_->view(),
                             result(dx_), result(dweight_), result(dbias_), threads_);
    }

    std::string describe() const override {
        const auto of = [](const std::optional<Tensor>& tensor) { return tensor ? tensor->describe() : "none"; };
        return "layer norm, input " + of(x_) + ", gradient " + of(dy_) + ", weight " + of(weight_) + ", bias " +
               of(bias_) + ", eps " + std::to_string(eps_) + ", threads " + std::to_string(threads_);
    }

  private:
    // Rows about a mean of their own, which may be large beside their deviation; few without any.
    void fill_input(Random& random) {
        double middle = 0, deviation = 1;
        std::int64_t i = 0;
        x_->fill([&] {
            if (i++ % channels_ == 0) {
                middle = random.one_in(4) ? random.uniform(-100, 100) : random.uniform(-1, 1);
                deviation = random.one_in(10) ? 0 : random.uniform(0.1, 2);
            }
            return middle + deviation * random.uniform(-1, 1);
        });
    }

    void vector(Random& random, std::optional<Tensor>& tensor, double low, double high) {
        if (random.one_in(4)) return;
        tensor.emplace(random.any_of({dtype_, DType::float32}), Sizes{channels_},
                       contiguous({channels_}, random.between(0, 3)));
        tensor->fill([&] { return random.uniform(low, high); });
    }

    std::vector<double> values_of(const std::optional<Tensor>& vector, double otherwise) const {
        return vector ? vector->values() : std::vector<double>(channels_, otherwise);
    }

    // Where the result will be.
    int add(const char* name, DType dtype, const Sizes& sizes, const Layout& layout, Expected expected) {
        results.push_back({name, Tensor(dtype, sizes, layout), std::move(expected)});
        return static_cast<int>(results.size()) - 1;
    }

    void expect_forward(Random& random) {
        const std::vector<double> x = x_->values(), weight = values_of(weight_, 1), bias = values_of(bias_, 0);
        const double lost = share(channels_ / kLeastLanes);
        Expected y, means, scales;
        for (std::int64_t r = 0; r < rows_; ++r) {
            const double* row = x.data() + r * channels_;
            double sum = 0, magnitude = 0, squares = 0;
            for (std::int64_t c = 0; c < channels_; ++c) sum += row[c], magnitude += std::fabs(row[c]);
            const double mean = sum / channels_, mean_error = lost * magnitude / channels_;
            for (std::int64_t c = 0; c < channels_; ++c) squares += (row[c] - mean) * (row[c] - mean);
            const double variance = squares / channels_ + eps_, scale = 1 / std::sqrt(variance);
            // Around another mean, the variance is larger by the square of the difference.
            const double scale_error = scale * (lost + mean_error * mean_error / (2 * variance));
            for (std::int64_t c = 0; c < channels_; ++c) {
                const double normal = (row[c] - mean) * scale, value = normal * weight[c] + bias[c];
                y.values.push_back(value);
                y.allowed.push_back(std::fabs(weight[c]) *
                                        (scale * mean_error + std::fabs(row[c] - mean) * scale_error) +
                                    lost * std::fabs(bias[c]) + rounding(dtype_) * std::fabs(value) + 1e-36);
            }
            means.values.push_back(mean);
            means.allowed.push_back(mean_error + 1e-36);
            scales.values.push_back(scale);
            scales.allowed.push_back(scale_error);
        }
        const Sizes sizes{rows_, channels_}, statistics{rows_};
        given_mean_.emplace(DType::float32, statistics, contiguous(statistics, random.between(0, 3)));
        given_scale_.emplace(DType::float32, statistics, contiguous(statistics, random.between(0, 3)));
        std::size_t m = 0, s = 0;
        given_mean_->fill([&] { return means.values[m++]; });
        given_scale_->fill([&] { return scales.values[s++]; });
        add("output", dtype_, sizes, any_layout(random, sizes, {false, false}), std::move(y));
        if (random.one_in(4)) return;
        const Layout layout = contiguous(statistics, random.between(0, 3));
        mean_ = add("mean", DType::float32, statistics, layout, std::move(means));
        scale_ = add("scale", DType::float32, statistics, layout, std::move(scales));
    }

    // From the mean and scale that are given, with what rounding they have.
    void expect_backward(Random& random) {
        const std::vector<double> x = x_->values(), dy = dy_->values(), weight = values_of(weight_, 1);
        const std::vector<double> means = given_mean_->values(), scales = given_scale_->values();
        const DType of_weight = weight_ ? weight_->view().dtype : dtype_,
                    of_bias = bias_ ? bias_->view().dtype : dtype_;
        const double lost = share(channels_ / kLeastLanes), lost_of_rows = share(rows_);
        Expected dx;
        std::vector<double> dweight(channels_), dbias(channels_), dweight_error(channels_), dbias_error(channels_);
        for (std::int64_t r = 0; r < rows_; ++r) {
            const auto normal = [&](std::int64_t c) { return (x[r * channels_ + c] - means[r]) * scales[r]; };
            const auto gradient = [&](std::int64_t c) { return dy[r * channels_ + c] * weight[c]; };
            double sum = 0, magnitude = 0, products = 0, magnitude_of_products = 0;
            for (std::int64_t c = 0; c < channels_; ++c) {
                const double g = gradient(c), product = g * normal(c);
                sum += g, magnitude += std::fabs(g);
                products += product, magnitude_of_products += std::fabs(product);
                const double d = dy[r * channels_ + c];
                dweight[c] += d * normal(c), dweight_error[c] += lost_of_rows * std::fabs(d * normal(c));
                dbias[c] += d, dbias_error[c] += lost_of_rows * std::fabs(d);
            }
            for (std::int64_t c = 0; c < channels_; ++c) {
                const double value = scales[r] * (gradient(c) - sum / channels_ - normal(c) * products / channels_);
                dx.values.push_back(value);
                dx.allowed.push_back(lost * scales[r] *
                                         (std::fabs(gradient(c)) + magnitude / channels_ +
                                          std::fabs(normal(c)) * magnitude_of_products / channels_) +
                                     rounding(dtype_) * std::fabs(value) + 1e-36);
            }
        }
        const Sizes sizes{rows_, channels_}, vector{channels_};
        if (!random.one_in(4)) {
            dx_ = add("gradient", dtype_, sizes, any_layout(random, sizes, {false, false}), std::move(dx));
        }
        const auto sums = [&](const char* name, DType dtype, std::vector<double>& values,
                              std::vector<double>& allowed) {
            for (std::int64_t c = 0; c < channels_; ++c) {
                allowed[c] += rounding(dtype) * std::fabs(values[c]) + 1e-36;
            }
            return add(name, dtype, vector, contiguous(vector, random.between(0, 3)), {values, allowed});
        };
        if (!random.one_in(4)) dweight_ = sums("gradient of the weight", of_weight, dweight, dweight_error);
        if (!random.one_in(4)) dbias_ = sums("gradient of the bias", of_bias, dbias, dbias_error);
    }

    static const TensorView* pointer(const std::optional<Tensor>& tensor) {
        return tensor ? tensor->pointer() : nullptr;
    }
    const TensorView* result(int at) const { return at < 0 ? nullptr : results[at].tensor.pointer(); }

    DType dtype_;
    std::int64_t rows_, channels_;
    std::optional<Tensor> x_, dy_, weight_, bias_, given_mean_, given_scale_;
    double eps_;
    int threads_;
    int mean_ = -1, scale_ = -1, dx_ = -1, dweight_ = -1, dbias_ = -1;  // where in the results; -1: not wanted
};

}  // namespace

std::unique_ptr<Problem> draw_layer_norm(Random& random) { return std::make_unique<LayerNormProblem>(random); }

}  // namespace pyemo::sanitize
