#include "dense/dense.h"

#include <cmath>
#include <optional>

#include "problem.h"

namespace pyemo::sanitize {

namespace {

double rounding(DType dtype) { return dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-23; }

struct Moments {
    double value = 0, magnitude = 0;
    void add(double term) { value += term, magnitude += std::fabs(term); }
};

Result result(const char* name, DType dtype, const Sizes& sizes, int lead, Expected expected) {
    return {name, Tensor(dtype, sizes, contiguous(sizes, lead)), std::move(expected)};
}

// Sums of products, where each may be off by a share of its magnitude.
Expected expected_of(const std::vector<Moments>& sums, DType dtype, double share) {
    Expected expected;
    for (const Moments& sum : sums) {
        expected.values.push_back(sum.value);
        expected.allowed.push_back(share * sum.magnitude + rounding(dtype) * std::fabs(sum.value) + 1e-36);
    }
    return expected;
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
        std::vector<Moments> y(x.size()), dx(x.size()), sums(columns);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double below = std::erfc(-x[i] * std::sqrt(0.5)) / 2,
                         density = std::exp(-x[i] * x[i] / 2) / std::sqrt(2 * std::acos(-1.0));
            y[i].add(x[i] * below);
            dx[i].add(dy[i] * below);
            dx[i].add(dy[i] * x[i] * density);
            sums[i % columns].add(dx[i].value);
            sums[i % columns].magnitude += dx[i].magnitude;
        }
        // In float32, the square of x is rounded before it becomes an exponent; beyond 14 nothing is left of it.
        const double share = (dtype_ == DType::bfloat16 ? 4e-4 : 3e-6) + 14 * 14 * 0x1p-24;
        results.push_back(result("output", dtype_, sizes, lead, expected_of(y, dtype_, share)));
        results.push_back(result("gradient", dtype_, sizes, lead, expected_of(dx, dtype_, share)));
        if (random.one_in(3)) return;
        results.push_back(result("gradient of the bias", dtype_, {columns}, lead, expected_of(sums, dtype_, share)));
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
        std::vector<Moments> weight(outputs * inputs), bias(outputs);
        for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t o = 0; o < outputs; ++o) {
                bias[o].add(dy[r * outputs + o]);
                for (std::int64_t i = 0; i < inputs; ++i) {
                    weight[o * inputs + i].add(dy[r * outputs + o] * x[r * inputs + i]);
                }
            }
        }
        const int lead = random.between(0, 3);
        results.push_back(
            result("gradient of the weight", dtype_, {outputs, inputs}, lead, expected_of(weight, dtype_, 3e-6)));
        threads_ = random.between(1, 2);
        if (random.one_in(3)) return;
        results.push_back(result("gradient of the bias", dtype_, {outputs}, lead, expected_of(bias, dtype_, 3e-6)));
    }

    void run() override {
        if (!dense::has_weight_gradient(dtype_)) {  // nothing to check on this instruction set
            for (Result& each : results) {
                std::size_t i = 0;
                each.tensor.fill([&] { return each.expected.values[i++]; });
            }
            return;
        }
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
    if (random.one_in(2)) return std::make_unique<GeluProblem>(random);
    return std::make_unique<WeightGradientProblem>(random);
}

}  // namespace pyemo::sanitize
