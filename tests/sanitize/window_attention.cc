#include "window_attention/window_attention.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "problem.h"
#include "window_attention_reference.h"

namespace pyemo::sanitize {

namespace {

// The largest error, as a share of the sum of absolute values, and near zero.
struct Tolerance {
    double share, least;
};

Tolerance tolerance_of(DType dtype) {
    constexpr double kFlushed = 1e-30;  // what kernels may take for zero
    switch (dtype) {
        case DType::float64:
            return {1e-14, kFlushed};
        case DType::float32:
            return {3e-6, kFlushed};
        case DType::float16:
            return {1e-3, 0x1p-24};
        default:
            return {1e-2, kFlushed};
    }
}

Expected near(const Sums& sums, Tolerance tolerance) {
    Expected expected{sums.values, sums.magnitudes};
    for (double& x : expected.allowed) x = tolerance.share * x + tolerance.least;
    return expected;
}

class WindowAttentionProblem : public Problem {
  public:
    explicit WindowAttentionProblem(Random& random)
        : dtype_(random.any_of({DType::float32, DType::float64, DType::bfloat16, DType::float16})) {
        WindowAttention& a = arguments_;
        draw_sizes(random);
        const bool cosine = random.one_in(2);
        const Sizes qkv{a.batch, a.height(), a.width(), 3 * a.channels()};
        const Sizes output{a.batch, a.height(), a.width(), a.channels()};
        const Sizes bias{a.heads, a.tokens(), a.tokens()}, heads{a.heads};
        const Sizes mask{a.rows_of_windows * a.columns_of_windows, a.tokens(), a.tokens()};
        const DType wide = dtype_ == DType::float64 ? DType::float64 : DType::float32;
        const auto input = [&](DType dtype, const Sizes& sizes, const Layout& layout, double low, double high,
                               std::vector<double>& values) {
            Tensor tensor(dtype, sizes, layout);
            tensor.fill([&] { return random.uniform(low, high); });
            values = tensor.values();
            return tensor;
        };
        const Freedom read{false, true}, written{false, false};
        qkv_.emplace(input(dtype_, qkv, any_layout(random, qkv, read), -1, 1, a.qkv));
        grad_output_.emplace(input(dtype_, output, any_layout(random, output, read), -1, 1, a.grad_output));
        const auto parameter = [&](DType dtype, const Sizes& sizes, double low, double high,
                                   std::vector<double>& values) {
            return input(dtype, sizes, contiguous(sizes, random.between(0, 3)), low, high, values);
        };
        const DType bias_dtype = random.one_in(2) ? dtype_ : wide;
        if (!random.one_in(4)) bias_.emplace(parameter(bias_dtype, bias, -1, 1, a.bias));
        if (random.one_in(3)) mask_.emplace(parameter(wide, mask, -2, 1, a.mask));
        if (cosine) logit_scale_.emplace(parameter(wide, heads, 0.5, 10, a.logit_scale));
        // The softmax of large logits goes another way.
        const bool steep = random.one_in(4);
        a.scale = cosine ? 1 : steep ? random.uniform(2, 20) : random.uniform(0.1, 1);
        keeps_ = random.one_in(2);
        threads_ = random.between(1, 2);

        const WindowAttentionSums sums = sanitize::window_attention(a);
        Tolerance tolerance = tolerance_of(dtype_);
        if (steep) tolerance.share *= 30;  // as their rounding is
        results.push_back(
            {"output", Tensor(dtype_, output, any_layout(random, output, written)), near(sums.output, tolerance)});
        results.push_back(
            {"gradient of qkv", Tensor(dtype_, qkv, any_layout(random, qkv, written)), near(sums.grad_qkv, tolerance)});
        const auto gradient_of = [&](const char* name, const std::optional<Tensor>& parameter, const Sizes& sizes,
                                     const Sums& expected) {
            if (!parameter || random.one_in(4)) return -1;
            results.push_back({name, Tensor(parameter->view().dtype, sizes, contiguous(sizes, random.between(0, 3))),
                               near(expected, tolerance)});
            return static_cast<int>(results.size()) - 1;
        };
        grad_bias_ = gradient_of("gradient of bias", bias_, bias, sums.grad_bias);
        grad_logit_scale_ = gradient_of("gradient of logit_scale", logit_scale_, heads, sums.grad_logit_scale);
    }

    void run() override {
        const WindowAttention& a = arguments_;
        window::Arguments arguments{qkv_->pointer(), pointer(bias_), pointer(mask_), pointer(logit_scale_),
                                    a.heads,         a.window,       a.shift,        a.scale,
                                    threads_};
        // As many bytes as are asked for, and no more.
        const std::size_t bytes = keeps_ ? window::kept_bytes(arguments, results[0].tensor.view()) : 0;
        const std::unique_ptr<void, decltype(&std::free)> kept(bytes ? std::malloc(bytes) : nullptr, &std::free);
        arguments.kept = static_cast<char*>(kept.get());
        if (bytes) std::memset(arguments.kept, 0xff, bytes);  // NaN, whatever the type
        window::forward(arguments, results[0].tensor.view());
        window::backward(arguments, grad_output_->view(), results[1].tensor.view(), result(grad_bias_),
                         result(grad_logit_scale_));
    }

    std::string describe() const override {
        const WindowAttention& a = arguments_;
        const auto extent = [](window::Extent e) { return std::to_string(e.height) + "x" + std::to_string(e.width); };
        return "window " + extent(a.window) + ", shift " + extent(a.shift) + ", " + std::to_string(a.heads) +
               " heads of " + std::to_string(a.head_dim) + ", qkv " + qkv_->describe() + ", output " +
               results[0].tensor.describe() + (bias_ ? ", bias " + bias_->describe() : "") + (mask_ ? ", mask" : "") +
               (logit_scale_ ? ", logit_scale" : "") + ", scale " + std::to_string(a.scale) +
               (keeps_ ? ", keeping" : "") + ", threads " + std::to_string(threads_);
    }

  private:
    void draw_sizes(Random& random) {
        WindowAttention& a = arguments_;
        a.window = {random.between(1, 12), random.between(1, 12)};
        // Those of models, and more whose last column stands alone behind the vectors.
        if (random.one_in(3)) a.window = random.any_of<window::Extent>({{7, 7}, {8, 8}, {12, 12}, {3, 11}, {9, 9}});
        a.shift = {0, 0};
        if (!random.one_in(3)) {
            a.shift = {random.between(0, a.window.height - 1), random.between(0, a.window.width - 1)};
        }
        a.heads = random.between(1, 4);
        a.head_dim = random.one_in(3) ? random.any_of({8, 16, 32}) : random.between(1, 40);
        a.rows_of_windows = random.between(1, 3), a.columns_of_windows = random.between(1, 3);
        a.batch = random.between(1, 2);
        // Small windows by the dozen, of which each task then has several.
        if (a.tokens() <= 16 && random.one_in(2)) a.batch = random.between(3, 12);
    }

    static const TensorView* pointer(const std::optional<Tensor>& tensor) {
        return tensor ? tensor->pointer() : nullptr;
    }
    const TensorView* result(int index) const { return index < 0 ? nullptr : results[index].tensor.pointer(); }

    const DType dtype_;
    WindowAttention arguments_;
    std::optional<Tensor> qkv_, grad_output_, bias_, mask_, logit_scale_;
    int grad_bias_, grad_logit_scale_;  // among the results, or -1
    bool keeps_;                        // whether the backward pass gets what the forward pass can keep for it
    int threads_;
};

}  // namespace

std::unique_ptr<Problem> draw_window_attention(Random& random) {
    return std::make_unique<WindowAttentionProblem>(random);
}

}  // namespace pyemo::sanitize
