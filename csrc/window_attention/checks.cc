#include "window_attention/checks.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "common/error.h"

namespace pyemo::window {

namespace {

[[noreturn]] void refuse(const std::string& message) { throw std::invalid_argument("window_attention: " + message); }

using Sizes = std::initializer_list<std::int64_t>;

void require_shape(const TensorView& view, const char* what, Sizes sizes) {
    if (view.ndim == static_cast<int>(sizes.size()) && std::equal(sizes.begin(), sizes.end(), view.sizes)) return;
    std::string expected;
    for (const std::int64_t size : sizes) expected += (expected.empty() ? "" : ", ") + std::to_string(size);
    refuse(std::string(what) + " must be of shape (" + expected + "), got " + view.describe());
}

void require_dtype(const TensorView& view, const char* what, DType dtype) {
    if (view.dtype == dtype) return;
    throw DTypeError("window_attention: " + std::string(what) + " must be " + name(dtype) + ", got " + view.describe());
}

void require_contiguous(const TensorView& view, const char* what) {
    if (!view.is_contiguous()) refuse(std::string(what) + " must be contiguous");
}

Map map_of(const TensorView& view, const char* what) {
    if (view.sizes[3] > 1 && view.strides[3] != 1) refuse(std::string(what) + " must have its channels side by side");
    return {view.data, view.byte_stride(0), view.byte_stride(1), view.byte_stride(2)};
}

}  // namespace

DType compute_dtype(DType dtype) { return dtype == DType::float64 ? DType::float64 : DType::float32; }

// What to work on; everything checked.
Problem make_problem(const Arguments& arguments, const TensorView& output, const char* output_name) {
    const TensorView& qkv = *arguments.qkv;
    if (qkv.dtype == DType::uint8 || qkv.dtype == DType::int16) {
        throw DTypeError("window_attention: qkv must be float32, bfloat16, float16 or float64, got " + qkv.describe());
    }
    const auto [window_height, window_width] = arguments.window;
    const auto [shift_height, shift_width] = arguments.shift;
    if (qkv.ndim != 4) refuse("qkv must be (B, H, W, 3 * C), got " + qkv.describe());
    if (arguments.heads < 1 || qkv.sizes[3] % (3 * static_cast<std::int64_t>(arguments.heads))) {
        refuse("the channels must be 3 * heads * head_dim with " + std::to_string(arguments.heads) + " heads, got " +
               qkv.describe());
    }
    if (window_height < 1 || window_width < 1 || qkv.sizes[1] % window_height || qkv.sizes[2] % window_width) {
        refuse("height and width must be divisible by the window " + std::to_string(window_height) + "x" +
               std::to_string(window_width) + ", got " + qkv.describe());
    }
    if (shift_height < 0 || shift_height >= window_height || shift_width < 0 || shift_width >= window_width) {
        refuse("the shift " + std::to_string(shift_height) + "x" + std::to_string(shift_width) +
               " must be at least 0 and less than the window");
    }

    Problem problem{};
    problem.batch = qkv.sizes[0], problem.height = qkv.sizes[1], problem.width = qkv.sizes[2];
    problem.heads = arguments.heads;
    problem.head_dim = static_cast<int>(qkv.sizes[3] / 3 / arguments.heads);
    problem.window_height = window_height, problem.window_width = window_width;
    problem.shift_height = shift_height, problem.shift_width = shift_width;
    problem.tokens = window_height * window_width;
    problem.rows_of_windows = problem.height / window_height;
    problem.columns_of_windows = problem.width / window_width;
    problem.scale = arguments.scale;
    problem.kept = arguments.kept;

    require_shape(output, output_name, {problem.batch, problem.height, problem.width, qkv.sizes[3] / 3});
    require_dtype(output, output_name, qkv.dtype);
    problem.qkv = map_of(qkv, "qkv");
    problem.output = map_of(output, output_name);

    const std::int64_t tokens = problem.tokens;
    const DType wide = compute_dtype(qkv.dtype);
    const auto parameter = [](const TensorView* view, const char* what, Sizes sizes, DType dtype) {
        if (!view) return static_cast<const void*>(nullptr);
        require_shape(*view, what, sizes);
        require_dtype(*view, what, dtype);
        require_contiguous(*view, what);
        return static_cast<const void*>(view->data);
    };
    problem.narrow_bias = arguments.bias && arguments.bias->dtype == qkv.dtype && qkv.dtype != wide;
    problem.bias =
        parameter(arguments.bias, "bias", {problem.heads, tokens, tokens}, problem.narrow_bias ? qkv.dtype : wide);
    problem.mask =
        parameter(arguments.mask, "mask", {problem.rows_of_windows * problem.columns_of_windows, tokens, tokens}, wide);
    problem.logit_scale = parameter(arguments.logit_scale, "logit_scale", {problem.heads}, wide);
    return problem;
}

void require_wide_bias(const Arguments& arguments) {
    if (arguments.bias) require_dtype(*arguments.bias, "bias", compute_dtype(arguments.qkv->dtype));
}

bool is_empty(const Problem& problem) { return problem.batch * problem.height * problem.width * problem.head_dim == 0; }

Problem make_backward_problem(const Arguments& arguments, const TensorView& grad_output, const TensorView& grad_qkv,
                              const TensorView* grad_bias, const TensorView* grad_logit_scale) {
    Problem problem = make_problem(arguments, grad_output, "the output's gradient");
    const TensorView& qkv = *arguments.qkv;
    const DType dtype = compute_dtype(qkv.dtype);
    require_shape(grad_qkv, "qkv's gradient", {qkv.sizes[0], qkv.sizes[1], qkv.sizes[2], qkv.sizes[3]});
    require_dtype(grad_qkv, "qkv's gradient", qkv.dtype);
    problem.grad_qkv = map_of(grad_qkv, "qkv's gradient");
    const std::int64_t tokens = problem.tokens;
    if (grad_bias) {
        require_shape(*grad_bias, "bias's gradient", {problem.heads, tokens, tokens});
        require_dtype(*grad_bias, "bias's gradient", problem.narrow_bias ? qkv.dtype : dtype);
        require_contiguous(*grad_bias, "bias's gradient");
    }
    if (grad_logit_scale) {
        require_shape(*grad_logit_scale, "logit_scale's gradient", {problem.heads});
        require_dtype(*grad_logit_scale, "logit_scale's gradient", dtype);
        require_contiguous(*grad_logit_scale, "logit_scale's gradient");
        if (!problem.logit_scale) refuse("there is no logit_scale to have a gradient");
    }
    return problem;
}

}  // namespace pyemo::window
