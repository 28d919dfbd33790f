#include "window_attention/cuda/window_attention.h"

#include <algorithm>
#include <limits>
#include <string>

#include "common/cuda/sums.h"
#include "window_attention/checks.h"
#include "window_attention/cuda/kernels.h"

namespace pyemo::window::cuda {

namespace {

using pyemo::cuda::DeviceGuard, pyemo::cuda::Limits, pyemo::cuda::limits;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// How a problem is worked on.
struct Choice {
    bool fast = false;  // on tensor cores
    int width = 0;      // of the kernel
    bool chunked = false;
    int threads = kWarps * 32, stages = 1;
    std::size_t shared_bytes = 0;
    int blocks = 0;  // that a multiprocessor has room for

    Choice(const Limits& limits, DType dtype, int head_dim, int tokens, bool backward) {
        const int item = item_size(dtype);
        const bool has_tensor_cores = (limits.capability >= 80 && dtype != DType::float64) ||
                                      (limits.capability >= 75 && dtype == DType::float16);
        const int widest = dtype == DType::float32 ? 64 : 128;
        if (!has_tensor_cores || head_dim > widest) return;
        width = head_dim <= 32 ? 32 : head_dim <= 64 ? 64 : 128;
        chunked = tokens > kChunk || width * item > 128;
        const Layout layout(width, tokens, item, backward ? 4 : 3);
        const auto bytes = [&](int stages) {
            return backward ? layout.backward_bytes(stages, chunked) : layout.forward_bytes(stages);
        };
        const int most = chunked ? 1 : backward ? backward_blocks(width, item) : forward_blocks(width, item);
        const auto fitting = [&](int stages) {
            return static_cast<int>(limits.shared_bytes_of_processor / (bytes(stages) + 1024));
        };
        const auto available = static_cast<std::size_t>(limits.shared_bytes);
        if (bytes(1) > available) return;
        fast = true;
        // A second window in shared memory is not to cost a block.
        if (!chunked && bytes(2) <= available && fitting(2) >= std::min(most, fitting(1))) stages = 2;
        if (chunked && !backward) threads *= 2;
        shared_bytes = bytes(stages);
        blocks = std::clamp(fitting(stages), 1, most);
    }
};

bool is_aligned(const Map& map) {
    const auto number = reinterpret_cast<std::uintptr_t>(map.data);
    return (number | map.batch | map.row | map.column) % 16 == 0;
}

std::int64_t window_count(const Problem& problem) {
    const std::int64_t windows = problem.batch * problem.rows_of_windows * problem.columns_of_windows;
    if (windows > std::numeric_limits<int>::max() || problem.height > std::numeric_limits<int>::max() ||
        problem.width > std::numeric_limits<int>::max()) {
        throw std::invalid_argument("window_attention: CUDA kernels take at most 2147483647 windows, got " +
                                    std::to_string(windows));
    }
    return windows;
}

Work make_work(const Problem& problem, const Choice& choice, const Limits& limits, int item) {
    Work work{};
    work.problem = problem;
    work.aligned = problem.head_dim * item % 16 == 0 && is_aligned(problem.qkv) && is_aligned(problem.output) &&
                   is_aligned(problem.grad_qkv);
    work.stages = choice.stages;
    work.windows = window_count(problem);
    // As many blocks as run at once; no more than there are windows for.
    const std::int64_t slots = std::max<std::int64_t>(std::int64_t{limits.multiprocessors} * choice.blocks, 1);
    const std::int64_t windows_each = divide_up(work.windows * problem.heads, slots);
    work.parts = static_cast<int>(divide_up(work.windows, std::min(work.windows, windows_each)));
    return work;
}

// Bytes from a workspace's begin to each of its pieces.
struct Workspace {
    std::int64_t bias_sums = 0, scale_sums = 0, statistics = 0, end = 0;

    Workspace(const Work& work, bool fast, int item, bool wants_bias, bool wants_logit_scale) {
        const std::int64_t heads = work.problem.heads, tokens = work.problem.tokens;
        const auto take = [&](std::int64_t count) { return (count * item + 15) / 16 * 16; };
        scale_sums = take(wants_bias ? work.parts * heads * tokens * tokens : 0);
        statistics = scale_sums + take(wants_logit_scale ? work.parts * heads * (fast ? 1 : tokens) : 0);
        end = statistics + take(fast ? 0 : 3 * work.windows * heads * tokens);
    }
};

// The general kernels have a warp for each row of a part.
void set_general_parts(Work& work, int item) {
    constexpr std::int64_t kMostParts = 256, kMostBytes = 1 << 28;
    const std::int64_t row_bytes = std::int64_t{work.problem.heads} * work.problem.tokens * work.problem.tokens * item;
    work.parts = static_cast<int>(std::clamp<std::int64_t>(std::min(kMostBytes / row_bytes, kMostParts), 1,
                                                           std::max<std::int64_t>(work.windows, 1)));
}

struct Backward {
    Choice choice;
    Work work;

    Backward(int device, const Problem& problem, DType dtype)
        : choice(limits(device), dtype, problem.head_dim, problem.tokens, true),
          work(make_work(problem, choice, limits(device), item_size(dtype))) {
        if (!choice.fast) set_general_parts(work, item_size(compute_dtype(dtype)));
    }
};

template <class T>
void add_up(const Queue& queue, const void* parts, std::int64_t count, int part_count, const TensorView* total) {
    if (!total) return;
    pyemo::cuda::launch_sums<T>(
        queue, {static_cast<const T*>(parts), count, part_count, reinterpret_cast<T*>(total->data), 1});
}

}  // namespace

bool is_fast(int device, DType dtype, int head_dim, int tokens, bool backward) {
    return Choice(limits(device), dtype, head_dim, tokens, backward).fast;
}

void forward(const Queue& queue, const Arguments& arguments, const TensorView& output) {
    require_wide_bias(arguments);
    const Problem problem = make_problem(arguments, output, "the output");
    if (is_empty(problem)) return;
    const DType dtype = arguments.qkv->dtype;
    const DeviceGuard guard(queue.device);
    const Choice choice(limits(queue.device), dtype, problem.head_dim, problem.tokens, false);
    const Work work = make_work(problem, choice, limits(queue.device), item_size(dtype));
    if (choice.fast) {
        launch_forward(queue, dtype, choice.width, choice.chunked, choice.threads, choice.shared_bytes, work);
    } else {
        launch_general_forward(queue, dtype, work);
    }
}

std::int64_t backward_workspace(int device, const Arguments& arguments, const TensorView& grad_output, bool wants_bias,
                                bool wants_logit_scale) {
    require_wide_bias(arguments);
    const Problem problem = make_problem(arguments, grad_output, "the output's gradient");
    if (is_empty(problem)) return 0;
    const DType dtype = arguments.qkv->dtype;
    const Backward backward(device, problem, dtype);
    return Workspace(backward.work, backward.choice.fast, item_size(compute_dtype(dtype)), wants_bias,
                     wants_logit_scale)
        .end;
}

void backward(const Queue& queue, const Arguments& arguments, const TensorView& grad_output, const TensorView& grad_qkv,
              const TensorView* grad_bias, const TensorView* grad_logit_scale, void* workspace) {
    require_wide_bias(arguments);
    const Problem problem = make_backward_problem(arguments, grad_output, grad_qkv, grad_bias, grad_logit_scale);
    const DType dtype = arguments.qkv->dtype, wide = compute_dtype(dtype);
    const std::int64_t heads = problem.heads, tokens = problem.tokens;
    const DeviceGuard guard(queue.device);
    const auto add = wide == DType::float64 ? add_up<double> : add_up<float>;
    if (is_empty(problem)) {
        add(queue, nullptr, heads * tokens * tokens, 0, grad_bias);
        add(queue, nullptr, heads, 0, grad_logit_scale);
        return;
    }
    Backward plan(queue.device, problem, dtype);
    Work& work = plan.work;
    const bool fast = plan.choice.fast;
    const Workspace places(work, fast, item_size(wide), grad_bias, grad_logit_scale);
    char* const memory = static_cast<char*>(workspace);
    work.bias_sums = grad_bias ? memory + places.bias_sums : nullptr;
    work.scale_sums = grad_logit_scale ? memory + places.scale_sums : nullptr;
    work.statistics = fast ? nullptr : memory + places.statistics;
    if (fast) {
        launch_backward(queue, dtype, plan.choice.width, plan.choice.chunked, plan.choice.shared_bytes, work);
    } else {
        launch_general_backward(queue, dtype, work);
    }
    add(queue, work.bias_sums, heads * tokens * tokens, work.parts, grad_bias);
    add(queue, work.scale_sums, heads, static_cast<int>(fast ? work.parts : work.parts * tokens), grad_logit_scale);
}

}  // namespace pyemo::window::cuda
