#include "dense/dense.h"

#include <cmath>
#include <optional>
#include <utility>

#include "problem.h"

namespace pyemo::sanitize {

namespace {

double rounding(DType dtype) { return dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-23; }

// A number, and how much a kernel's may differ from it before it is rounded to its type.
struct Value {
    double value = 0, error = 0;
};

// A sum, which may be off by a share of its magnitude, and by the errors of its terms.
class Sum {
  public:
    void add(double term, double error = 0) { value_ += term, magnitude_ += std::fabs(term), errors_ += error; }
    Value value() const { return {value_, 3e-6 * magnitude_ + errors_}; }

  private:
    double value_ = 0, magnitude_ = 0, errors_ = 0;
};

Result result(const char* name, DType dtype, const Sizes& sizes, const Layout& layout,
              const std::vector<Value>& values) {
    Expected expected;
    for (const Value& each : values) {
        expected.values.push_back(each.value);
        expected.allowed.push_back(each.error + rounding(dtype) * std::fabs(each.value) + 1e-36);
    }
    return {name, Tensor(dtype, sizes, layout), std::move(expected)};
}

std::vector<Value> values_of(const std::vector<Sum>& sums) {
    std::vector<Value> values;
    for (const Sum& sum : sums) values.push_back(sum.value());
    return values;
}

// Of GELUs. In float32, the square of x is rounded before it becomes an exponent; beyond 14 nothing is left of it.
double share(DType dtype) { return (dtype == DType::bfloat16 ? 4e-4 : 3e-6) + 14 * 14 * 0x1p-24; }

// On AVX-512, the GELU in bfloat16 is 0 beyond a distance where only so much is left of it, or of its derivative.
Value gelu(double x, DType dtype) {
    const double y = x * std::erfc(-x * std::sqrt(0.5)) / 2;
    return {y, share(dtype) * std::fabs(y) + (dtype == DType::bfloat16 ? 4e-8 : 0)};
}
Value slope(double x, DType dtype) {
    const double below = std::erfc(-x * std::sqrt(0.5)) / 2,
                 bell = x * std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0));
    return {below + bell, share(dtype) * (below + std::fabs(bell)) + (dtype == DType::bfloat16 ? 4e-8 : 0)};
}
Value gelu_by_tanh(double x, DType dtype) {
    const double y = x / (1 + std::exp(-std::sqrt(8 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    return {y, 2 * share(dtype) * std::fabs(y)};  // what is an exponent there goes up to 90, as the square does here
}

// What comes after a layer. `hidden`: what the GELU was given, for its gradient.
Value followed_by(dense::Then then, const Value& x, double hidden, DType dtype) {
    if (then == dense::Then::nothing) return x;
    if (then == dense::Then::gelu_backward) {
        const Value factor = slope(hidden, dtype);
        return {x.value * factor.value,
                x.error * (std::fabs(factor.value) + factor.error) + std::fabs(x.value) * factor.error};
    }
    const Value y = then == dense::Then::gelu ? gelu(x.value, dtype) : gelu_by_tanh(x.value, dtype);
    return {y.value, y.error + 1.2 * x.error};  // no slope is steeper
}

// Where an instruction set has no kernel, there is nothing to check.
void fill_with_what_is_expected(std::vector<Result>& results) {
    for (Result& each : results) {
        std::size_t i = 0;
        each.tensor.fill([&] { return each.expected.values[i++]; });
    }
}

class GeluProblem : public Problem {
  public:
    explicit GeluProblem(Random& random) : dtype_(random.any_of({DType::float32, DType::bfloat16})) {
        const std::int64_t rows = random.between(1, random.one_in(4) ? 700 : 20), columns = random.between(1, 150);
        const Sizes sizes{rows, columns};
        const int lead = random.between(0, 3);
        x_.emplace(dtype_, sizes, contiguous(sizes, lead));
        x_->fill([&] { return random.one_in(20) ? random.uniform(-40, 40) : random.uniform(-6, 6); });
        dy_.emplace(dtype_, sizes, contiguous(sizes, lead));
        dy_->fill([&] { return random.uniform(-1, 1); });

        const std::vector<double> x = x_->values(), dy = dy_->values();
        std::vector<Value> y, dx, sums(columns);
        for (std::size_t i = 0; i < x.size(); ++i) {
            y.push_back(gelu(x[i], dtype_));
            const Value factor = slope(x[i], dtype_);
            dx.push_back({dy[i] * factor.value, std::fabs(dy[i]) * factor.error});
            sums[i % columns].value += dx[i].value;
            sums[i % columns].error += dx[i].error;
        }
        const Layout layout = contiguous(sizes, lead);
        results.push_back(result("output", dtype_, sizes, layout, y));
        results.push_back(result("gradient", dtype_, sizes, layout, dx));
        if (random.one_in(3)) return;
        results.push_back(result("gradient of the bias", dtype_, {columns}, contiguous({columns}, lead), sums));
    }

    void run() override {
        dense::gelu(x_->view(), results[0].tensor.view(), 2);
        dense::gelu_backward(dy_->view(), x_->view(), results[1].tensor.view(),
                             results.size() > 2 ? results[2].tensor.pointer() : nullptr, 2);
    }

    std::string describe() const override { return "gelu, input " + x_->describe(); }

  private:
    DType dtype_;
    std::optional<Tensor> x_, dy_;
};

// Rows of matrices, some apart or backwards. `apart`: so far apart that the first cache holds few of them.
Layout any_rows(Random& random, DType dtype, const Sizes& sizes, bool repeats, bool apart) {
    Layout layout = any_layout(random, sizes, {false, repeats});
    const std::int64_t step = 4096 / item_size(dtype);
    if (apart) layout.strides[0] = (sizes[1] + step - 1) / step * step;
    return layout;
}

class LayerProblem : public Problem {
  public:
    explicit LayerProblem(Random& random)
        : dtype_(random.any_of({DType::float32, DType::bfloat16})),
          then_(random.any_of(
              {dense::Then::nothing, dense::Then::gelu, dense::Then::gelu_tanh, dense::Then::gelu_backward})),
          threads_(random.between(1, 3)) {
        std::int64_t rows = random.between(1, 60), inputs = random.between(1, 80), outputs = random.between(1, 120);
        if (random.one_in(6)) rows = random.between(200, 700);     // more than one task's
        if (random.one_in(6)) inputs = random.between(190, 600);   // sums in parts
        if (random.one_in(6)) outputs = random.between(130, 900);  // more than one task's
        if (rows * outputs * inputs > 3'000'000) rows = 1 + 3'000'000 / (outputs * inputs);
        const Sizes sizes{rows, outputs};
        x_.emplace(dtype_, Sizes{rows, inputs}, any_rows(random, dtype_, {rows, inputs}, true, random.one_in(8)));
        weight_.emplace(dtype_, Sizes{outputs, inputs}, any_weight(random, outputs, inputs));
        if (!random.one_in(3)) bias_.emplace(dtype_, Sizes{outputs}, contiguous({outputs}, random.between(0, 3)));
        for (auto* each : {&x_, &weight_, &bias_}) {
            if (*each) (*each)->fill([&] { return random.uniform(-1.5, 1.5); });
        }
        const bool reads = then_ == dense::Then::gelu_backward;
        if (reads) {
            given_.emplace(dtype_, sizes, any_rows(random, dtype_, sizes, true, false));
            given_->fill([&] { return random.uniform(-6, 6); });
        }

        const std::vector<Value> products = layer(x_->values(), {}, rows, *weight_, bias_);
        const std::vector<double> given = given_ ? given_->values() : std::vector<double>(products.size());
        std::vector<Value> y;
        for (std::size_t i = 0; i < products.size(); ++i) {
            y.push_back(followed_by(then_, products[i], given[i], dtype_));
        }
        results.push_back(result("output", dtype_, sizes, any_rows(random, dtype_, sizes, false, false), y));
        if (then_ == dense::Then::nothing || reads || random.one_in(2)) return;
        results.push_back(
            result("what the GELU is given", dtype_, sizes, any_rows(random, dtype_, sizes, false, false), products));
    }

    // Rows or columns side by side.
    static Layout any_weight(Random& random, std::int64_t outputs, std::int64_t inputs) {
        if (random.one_in(2)) return any_layout(random, {outputs, inputs}, {false, true});
        Layout layout = any_layout(random, {inputs, outputs}, {false, true});
        std::swap(layout.strides[0], layout.strides[1]);
        return layout;
    }

    // `errors` of x; none if it is empty.
    static std::vector<Value> layer(const std::vector<double>& x, const std::vector<double>& errors, std::int64_t rows,
                                    const Tensor& weight, const std::optional<Tensor>& bias) {
        const std::int64_t outputs = weight.view().sizes[0], inputs = weight.view().sizes[1];
        const std::vector<double> w = weight.values(), b = bias ? bias->values() : std::vector<double>(outputs);
        std::vector<Value> products;
        for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t o = 0; o < outputs; ++o) {
                Sum sum;
                sum.add(b[o]);
                for (std::int64_t i = 0; i < inputs; ++i) {
                    const double factor = w[o * inputs + i];
                    sum.add(x[r * inputs + i] * factor,
                            errors.empty() ? 0 : errors[r * inputs + i] * std::fabs(factor));
                }
                products.push_back(sum.value());
            }
        }
        return products;
    }

    void run() override {
        if (!dense::has_layer(dtype_)) return fill_with_what_is_expected(results);
        const TensorView* hidden = given_               ? given_->pointer()
                                   : results.size() > 1 ? results[1].tensor.pointer()
                                                        : nullptr;
        dense::layer(x_->view(), weight_->view(), bias_ ? bias_->pointer() : nullptr, then_, results[0].tensor.view(),
                     hidden, threads_);
    }

    std::string describe() const override {
        return "layer, input " + x_->describe() + ", weight " + weight_->describe() + (bias_ ? ", bias" : "") +
               ", then " + std::to_string(static_cast<int>(then_)) + ", threads " + std::to_string(threads_);
    }

  private:
    DType dtype_;
    dense::Then then_;
    int threads_;
    std::optional<Tensor> x_, weight_, bias_, given_;
};

class FeedForwardProblem : public Problem {
  public:
    explicit FeedForwardProblem(Random& random)
        : dtype_(random.any_of({DType::float32, DType::bfloat16})),
          then_(random.any_of({dense::Then::nothing, dense::Then::gelu, dense::Then::gelu_tanh})),
          threads_(random.between(1, 3)) {
        std::int64_t rows = random.between(1, 60), inputs = random.between(1, 40), hidden = random.between(1, 120),
                     outputs = random.between(1, 60);
        if (random.one_in(4)) rows = random.between(200, 500);  // in parts
        if (random.one_in(8)) {                                 // shared among threads
            rows = random.between(1, 12), inputs = random.between(330, 500), hidden = random.between(500, 600);
        } else if (random.one_in(25)) {  // and that in parts
            rows = random.between(400, 420), inputs = random.between(42, 50), hidden = 4000, outputs = 1;
        }
        x_.emplace(dtype_, Sizes{rows, inputs}, any_rows(random, dtype_, {rows, inputs}, true, random.one_in(8)));
        weight1_.emplace(dtype_, Sizes{hidden, inputs}, LayerProblem::any_weight(random, hidden, inputs));
        weight2_.emplace(dtype_, Sizes{outputs, hidden}, LayerProblem::any_weight(random, outputs, hidden));
        if (!random.one_in(3)) bias1_.emplace(dtype_, Sizes{hidden}, contiguous({hidden}, random.between(0, 3)));
        if (!random.one_in(3)) bias2_.emplace(dtype_, Sizes{outputs}, contiguous({outputs}, random.between(0, 3)));
        for (auto* each : {&x_, &weight1_, &bias1_, &weight2_, &bias2_}) {
            if (*each) (*each)->fill([&] { return random.uniform(-1.5, 1.5); });
        }

        std::vector<double> between, errors;  // the hidden activations are rounded
        for (const Value& each : LayerProblem::layer(x_->values(), {}, rows, *weight1_, bias1_)) {
            const Value activated = followed_by(then_, each, 0, dtype_);
            between.push_back(activated.value);
            errors.push_back(activated.error + rounding(dtype_) * std::fabs(activated.value));
        }
        const Sizes sizes{rows, outputs};
        results.push_back(result("output", dtype_, sizes, any_rows(random, dtype_, sizes, false, false),
                                 LayerProblem::layer(between, errors, rows, *weight2_, bias2_)));
    }

    void run() override {
        if (!dense::has_layer(dtype_)) return fill_with_what_is_expected(results);
        dense::feed_forward(x_->view(), weight1_->view(), bias1_ ? bias1_->pointer() : nullptr, then_, weight2_->view(),
                            bias2_ ? bias2_->pointer() : nullptr, results[0].tensor.view(), threads_);
    }

    std::string describe() const override {
        return "feed-forward network, input " + x_->describe() + ", weights " + weight1_->describe() + " and " +
               weight2_->describe() + (bias1_ ? ", first bias" : "") + (bias2_ ? ", second bias" : "") + ", then " +
               std::to_string(static_cast<int>(then_)) + ", threads " + std::to_string(threads_);
    }

  private:
    DType dtype_;
    dense::Then then_;
    int threads_;
    std::optional<Tensor> x_, weight1_, bias1_, weight2_, bias2_;
};

class WeightGradientProblem : public Problem {
  public:
    explicit WeightGradientProblem(Random& random) : dtype_(random.any_of({DType::float32, DType::bfloat16})) {
        std::int64_t rows = random.between(1, 300), outputs = random.between(1, 40), inputs = random.between(1, 60);
        if (random.one_in(6)) rows = random.between(1000, 3500);   // more than one slice
        if (random.one_in(6)) outputs = random.between(180, 400);  // more than one part
        if (random.one_in(6)) inputs = random.between(370, 800);
        if (rows * outputs * inputs > 4'000'000) rows = 1 + 4'000'000 / (outputs * inputs);
        const auto input = [&](std::optional<Tensor>& tensor, std::int64_t columns) {
            const Sizes sizes{rows, columns};
            tensor.emplace(dtype_, sizes, any_layout(random, sizes, {false, false}));
            tensor->fill([&] { return random.uniform(-1, 1); });
            return tensor->values();
        };
        const std::vector<double> dy = input(dy_, outputs), x = input(x_, inputs);
        std::vector<Sum> weight(outputs * inputs), bias(outputs);
        for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t o = 0; o < outputs; ++o) {
                bias[o].add(dy[r * outputs + o]);
                for (std::int64_t i = 0; i < inputs; ++i) {
                    weight[o * inputs + i].add(dy[r * outputs + o] * x[r * inputs + i]);
                }
            }
        }
        const int lead = random.between(0, 3);
        results.push_back(result("gradient of the weight", dtype_, {outputs, inputs},
                                 contiguous({outputs, inputs}, lead), values_of(weight)));
        threads_ = random.between(1, 2);
        if (random.one_in(3)) return;
        results.push_back(
            result("gradient of the bias", dtype_, {outputs}, contiguous({outputs}, lead), values_of(bias)));
    }

    void run() override {
        if (!dense::has_weight_gradient(dtype_)) return fill_with_what_is_expected(results);
        dense::weight_gradient(dy_->view(), x_->view(), results[0].tensor.view(),
                               results.size() > 1 ? results[1].tensor.pointer() : nullptr, threads_);
    }

    std::string describe() const override {
        return "weight gradient, gradient " + dy_->describe() + ", input " + x_->describe() + ", threads " +
               std::to_string(threads_);
    }

  private:
    DType dtype_;
    std::optional<Tensor> dy_, x_;
    int threads_;
};

}  // namespace

std::unique_ptr<Problem> draw_dense(Random& random) {
    switch (random.between(0, 5)) {
        case 0:
            return std::make_unique<GeluProblem>(random);
        case 1:
            return std::make_unique<WeightGradientProblem>(random);
        case 2:
            return std::make_unique<FeedForwardProblem>(random);
        default:
            return std::make_unique<LayerProblem>(random);
    }
}

}  // namespace pyemo::sanitize
