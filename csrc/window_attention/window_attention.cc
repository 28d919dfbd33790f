#include "window_attention/window_attention.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/isa.h"
#include "common/parallel.h"
#include "common/scratch.h"
#include "window_attention/checks.h"
#include "window_attention/kernels.h"

PYEMO_DISPATCH(window::Kernels, window_kernels)

namespace pyemo::window {

namespace {

const Kernel& kernel_of(DType dtype) { return window_kernels().of[static_cast<int>(dtype)]; }

// What is kept should still be in the caches when it is needed: from memory, it takes as long as computing it again.
constexpr std::size_t kMostKeptBytes = std::size_t{1} << 23;

std::int64_t units(const Problem& problem) {
    return problem.batch * problem.rows_of_windows * problem.columns_of_windows * problem.heads;
}

// How windows and heads are divided into tasks: the same for any number of threads, so that sums over tasks are too.
struct Division {
    std::int64_t windows, window_parts;
    int heads, head_parts;

    // Parts of at least so many windows. A task takes a while to set up, so it gets some units, if there are few of
    // them, and rather of one head in several windows than of several heads, each of which brings its bias along.
    Division(const Problem& problem, std::int64_t least_windows)
        : windows(problem.batch * problem.rows_of_windows * problem.columns_of_windows), heads(problem.heads) {
        constexpr std::int64_t kMostTasks = 64, kLeastUnits = 3;
        const std::int64_t tasks = std::clamp<std::int64_t>(windows * heads / kLeastUnits, 1, kMostTasks);
        head_parts = static_cast<int>(std::min<std::int64_t>(heads, tasks));
        window_parts = std::clamp<std::int64_t>(windows / least_windows, 1, tasks / head_parts);
    }

    std::int64_t tasks() const { return window_parts * head_parts; }
    int most_heads() const { return (heads + head_parts - 1) / head_parts; }

    Task task(std::int64_t index) const {
        const std::int64_t part = index / head_parts, head_part = index % head_parts;
        return {part * windows / window_parts, (part + 1) * windows / window_parts,
                static_cast<int>(head_part * heads / head_parts),
                static_cast<int>((head_part + 1) * heads / head_parts)};
    }
};

}  // namespace

std::size_t kept_bytes(const Arguments& arguments, const TensorView& output) {
    const Problem problem = make_problem(arguments, output, "the output");
    const std::size_t bytes = kernel_of(arguments.qkv->dtype).kept_bytes(problem) * units(problem);
    return bytes <= kMostKeptBytes ? bytes : 0;
}

void forward(const Arguments& arguments, const TensorView& output) {
    const Problem problem = make_problem(arguments, output, "the output");
    if (is_empty(problem)) return;
    const Kernel& kernel = kernel_of(arguments.qkv->dtype);
    const Division division(problem, 1);
    const std::size_t piece = kernel.scratch_bytes(problem, division.most_heads(), false);
    Memory memory(Scratch::bytes(arguments.threads, piece));
    Scratch scratch(arguments.threads, piece, memory);
    parallel_for(division.tasks(), arguments.threads, [&](std::int64_t i) {
        scratch.lend([&](char* memory) { kernel.forward(problem, division.task(i), memory); });
    });
}

namespace {

// The tasks' sums of bias gradients (window parts, heads, tokens, stride), added up in the order of the parts.
struct BiasSums {
    const Kernel& kernel;
    const Problem& problem;
    std::int64_t parts;
    std::size_t head_bytes;
    char* sums;

    std::size_t bytes() const { return parts * problem.heads * head_bytes; }
    char* of(std::int64_t part, int head) const { return sums + (part * problem.heads + head) * head_bytes; }

    // Into grad_bias (heads, tokens, tokens).
    void add_up(int head, const TensorView& grad_bias) const {
        const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(problem.tokens) * problem.tokens;
        kernel.add_up(problem.tokens, of(0, head), problem.heads * head_bytes, parts,
                      grad_bias.data + head * size * item_size(grad_bias.dtype), problem.narrow_bias);
    }
};

}  // namespace

void backward(const Arguments& arguments, const TensorView& grad_output, const TensorView& grad_qkv,
              const TensorView* grad_bias, const TensorView* grad_logit_scale) {
    const Problem problem = make_backward_problem(arguments, grad_output, grad_qkv, grad_bias, grad_logit_scale);
    const DType dtype = compute_dtype(arguments.qkv->dtype);
    const std::int64_t tokens = problem.tokens;

    if (is_empty(problem)) {
        if (grad_bias) std::memset(grad_bias->data, 0, item_size(grad_bias->dtype) * problem.heads * tokens * tokens);
        if (grad_logit_scale) std::memset(grad_logit_scale->data, 0, item_size(dtype) * problem.heads);
        return;
    }
    const Kernel& kernel = kernel_of(arguments.qkv->dtype);
    const Division division(problem, 8);
    const std::size_t head_bytes =
                          item_size(dtype) * static_cast<std::size_t>(tokens) * kernel.bias_stride(problem.tokens),
                      piece = kernel.scratch_bytes(problem, division.most_heads(), true);
    BiasSums bias_sums{kernel, problem, grad_bias ? division.window_parts : 0, head_bytes, nullptr};
    Memory memory(aligned(bias_sums.bytes()) + Scratch::bytes(arguments.threads, piece));
    bias_sums.sums = memory.take(bias_sums.bytes());
    Scratch scratch(arguments.threads, piece, memory);
    std::vector<double> logit_scale_sums(grad_logit_scale ? division.window_parts * problem.heads : 0);
    parallel_for(division.tasks(), arguments.threads, [&](std::int64_t i) {
        const Task task = division.task(i);
        const std::int64_t part = i / division.head_parts;
        char* bias_sum = grad_bias ? bias_sums.of(part, task.head_begin) : nullptr;
        if (bias_sum) std::memset(bias_sum, 0, (task.head_end - task.head_begin) * head_bytes);
        scratch.lend([&](char* memory) {
            kernel.backward(
                problem, task, memory, bias_sum,
                grad_logit_scale ? logit_scale_sums.data() + part * problem.heads + task.head_begin : nullptr);
        });
        if (!grad_bias || division.window_parts > 1) return;
        for (int head = task.head_begin; head < task.head_end; ++head) bias_sums.add_up(head, *grad_bias);
    });

    if (grad_bias && division.window_parts > 1) {
        parallel_for(problem.heads, arguments.threads,
                     [&](std::int64_t head) { bias_sums.add_up(static_cast<int>(head), *grad_bias); });
    }
    for (int head = 0; grad_logit_scale && head < problem.heads; ++head) {
        double sum = 0;
        for (std::int64_t part = 0; part < division.window_parts; ++part) {
            sum += logit_scale_sums[part * problem.heads + head];
        }
        if (dtype == DType::float64) {
            reinterpret_cast<double*>(grad_logit_scale->data)[head] = sum;
        } else {
            reinterpret_cast<float*>(grad_logit_scale->data)[head] = static_cast<float>(sum);
        }
    }
}

}  // namespace pyemo::window
