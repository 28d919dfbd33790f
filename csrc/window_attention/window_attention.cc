#include "window_attention/window_attention.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/isa.h"
#include "common/parallel.h"
#include "window_attention/kernels.h"

PYEMO_DISPATCH(window::Kernels, window_kernels)

namespace pyemo::window {

namespace {

constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Memory for one call. The calling thread keeps it for its next call, up to a size: memory that went back to the system
// would be handed out page by page again, which takes longer than many a call.
class Memory {
  public:
    explicit Memory(std::size_t bytes) {
        constexpr std::size_t kMostKept = 32 << 20;
        thread_local Block kept;
        if (bytes > kMostKept) {
            data_ = own_.grow(bytes);
        } else {
            data_ = kept.grow(bytes);
        }
    }

    char* take(std::size_t bytes) {
        char* const taken = data_;
        data_ += aligned(bytes);
        return taken;
    }

  private:
    struct Block {
        char* data = nullptr;
        std::size_t size = 0;

        Block() = default;
        Block(const Block&) = delete;
        ~Block() { free(); }
        char* grow(std::size_t bytes) {
            if (bytes > size) {
                free();
                data = static_cast<char*>(::operator new(bytes, std::align_val_t(kAlignment)));
                size = bytes;
            }
            return data;
        }
        void free() {
            if (data) ::operator delete(data, std::align_val_t(kAlignment));
            data = nullptr, size = 0;
        }
    };

    Block own_;
    char* data_;
};

// Pieces of memory to work in, one for each thread that runs at once.
class Scratch {
  public:
    static std::size_t bytes(int threads, std::size_t piece) { return aligned(piece) * std::max(threads, 1); }

    Scratch(int threads, std::size_t piece, Memory& memory)
        : piece_(aligned(piece)), taken_(std::max(threads, 1)), data_(memory.take(bytes(threads, piece))) {}

    template <class Body>
    void lend(const Body& body) {
        std::size_t piece = 0;
        while (taken_[piece].exchange(true, std::memory_order_acquire)) piece = (piece + 1) % taken_.size();
        body(data_ + piece * piece_);
        taken_[piece].store(false, std::memory_order_release);
    }

  private:
    std::size_t piece_;
    std::vector<std::atomic<bool>> taken_;
    char* data_;
};

void require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument("window_attention: " + message);
}

void require_shape(const TensorView& view, const char* what, const std::vector<std::int64_t>& sizes) {
    bool fits = view.ndim == static_cast<int>(sizes.size());
    for (int d = 0; fits && d < view.ndim; ++d) fits = view.sizes[d] == sizes[d];
    if (fits) return;
    std::string expected;
    for (const std::int64_t size : sizes) expected += (expected.empty() ? "" : ", ") + std::to_string(size);
    require(false, std::string(what) + " must be of shape (" + expected + "), got " + view.describe());
}

void require_dtype(const TensorView& view, const char* what, DType dtype) {
    if (view.dtype == dtype) return;
    throw DTypeError("window_attention: " + std::string(what) + " must be " + name(dtype) + ", got " + view.describe());
}

void require_contiguous(const TensorView& view, const char* what) {
    std::int64_t stride = 1;
    for (int d = view.ndim - 1; d >= 0; --d) {
        require(view.sizes[d] <= 1 || view.strides[d] == stride, std::string(what) + " must be contiguous");
        stride *= view.sizes[d];
    }
}

Map map_of(const TensorView& view, const char* what) {
    require(view.sizes[3] <= 1 || view.strides[3] == 1, std::string(what) + " must have its channels side by side");
    return {view.data, view.byte_stride(0), view.byte_stride(1), view.byte_stride(2)};
}

const Kernel& kernel_of(DType dtype) { return window_kernels().of[static_cast<int>(dtype)]; }

DType compute_dtype(DType dtype) { return dtype == DType::float64 ? DType::float64 : DType::float32; }

// What to work on; everything checked.
Problem make_problem(const Arguments& arguments, const TensorView& output, const char* output_name) {
    const TensorView& qkv = *arguments.qkv;
    if (!kernel_of(qkv.dtype).forward) {
        throw DTypeError("window_attention: qkv must be float32, bfloat16, float16 or float64, got " + qkv.describe());
    }
    const auto [window_height, window_width] = arguments.window;
    const auto [shift_height, shift_width] = arguments.shift;
    require(qkv.ndim == 4, "qkv must be (B, H, W, 3 * C), got " + qkv.describe());
    require(arguments.heads > 0 && qkv.sizes[3] % (3 * static_cast<std::int64_t>(arguments.heads)) == 0,
            "the channels must be 3 * heads * head_dim with " + std::to_string(arguments.heads) + " heads, got " +
                qkv.describe());
    require(
        window_height > 0 && window_width > 0 && qkv.sizes[1] % window_height == 0 && qkv.sizes[2] % window_width == 0,
        "height and width must be divisible by the window " + std::to_string(window_height) + "x" +
            std::to_string(window_width) + ", got " + qkv.describe());
    require(shift_height >= 0 && shift_height < window_height && shift_width >= 0 && shift_width < window_width,
            "the shift " + std::to_string(shift_height) + "x" + std::to_string(shift_width) +
                " must be at least 0 and less than the window");

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

    require_shape(output, output_name, {problem.batch, problem.height, problem.width, qkv.sizes[3] / 3});
    require_dtype(output, output_name, qkv.dtype);
    problem.qkv = map_of(qkv, "qkv");
    problem.output = map_of(output, output_name);

    const std::int64_t tokens = problem.tokens;
    const auto parameter = [&](const TensorView* view, const char* what, const std::vector<std::int64_t>& sizes) {
        if (!view) return static_cast<const void*>(nullptr);
        require_shape(*view, what, sizes);
        require_dtype(*view, what, compute_dtype(qkv.dtype));
        require_contiguous(*view, what);
        return static_cast<const void*>(view->data);
    };
    problem.bias = parameter(arguments.bias, "bias", {problem.heads, tokens, tokens});
    problem.mask =
        parameter(arguments.mask, "mask", {problem.rows_of_windows * problem.columns_of_windows, tokens, tokens});
    problem.logit_scale = parameter(arguments.logit_scale, "logit_scale", {problem.heads});
    return problem;
}

bool is_empty(const Problem& problem) { return problem.batch * problem.height * problem.width * problem.head_dim == 0; }

// How windows and heads are divided into tasks: the same for any number of threads, so that sums over tasks are too.
struct Division {
    std::int64_t windows, window_parts;
    int heads, head_parts;

    // Parts of at least so many windows. A task takes a while to set up, so it gets some units, if there are few of
    // them.
    Division(const Problem& problem, std::int64_t least_windows)
        : windows(problem.batch * problem.rows_of_windows * problem.columns_of_windows), heads(problem.heads) {
        constexpr std::int64_t kMostTasks = 64, kLeastUnits = 3;
        const std::int64_t tasks = std::clamp<std::int64_t>(windows * heads / kLeastUnits, 1, kMostTasks);
        window_parts = std::clamp<std::int64_t>(windows / least_windows, 1, tasks);
        head_parts = static_cast<int>(std::clamp<std::int64_t>(tasks / window_parts, 1, heads));
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
    char* sums;
    int stride;
    std::size_t item;

    std::size_t head_size(const Problem& problem) const { return static_cast<std::size_t>(problem.tokens) * stride; }

    // Into grad_bias (heads, tokens, tokens).
    template <class C>
    void add_up(const Problem& problem, const Division& division, int head, char* grad_bias) const {
        C* target = reinterpret_cast<C*>(grad_bias) + static_cast<std::size_t>(head) * problem.tokens * problem.tokens;
        for (int i = 0; i < problem.tokens; ++i, target += problem.tokens) {
            for (std::int64_t part = 0; part < division.window_parts; ++part) {
                const C* source = reinterpret_cast<const C*>(sums) +
                                  (part * problem.heads + head) * head_size(problem) +
                                  static_cast<std::size_t>(i) * stride;
                if (part) {
                    for (int j = 0; j < problem.tokens; ++j) target[j] += source[j];
                } else {
                    std::copy_n(source, problem.tokens, target);
                }
            }
        }
    }
    void add_up(const Problem& problem, const Division& division, int head, const TensorView& grad_bias) const {
        const auto function = grad_bias.dtype == DType::float64 ? &BiasSums::add_up<double> : &BiasSums::add_up<float>;
        (this->*function)(problem, division, head, grad_bias.data);
    }
};

}  // namespace

void backward(const Arguments& arguments, const TensorView& grad_output, const TensorView& grad_qkv,
              const TensorView* grad_bias, const TensorView* grad_logit_scale) {
    Problem problem = make_problem(arguments, grad_output, "the output's gradient");
    const TensorView& qkv = *arguments.qkv;
    const DType dtype = compute_dtype(qkv.dtype);
    require_shape(grad_qkv, "qkv's gradient", {qkv.sizes, qkv.sizes + qkv.ndim});
    require_dtype(grad_qkv, "qkv's gradient", qkv.dtype);
    problem.grad_qkv = map_of(grad_qkv, "qkv's gradient");
    const std::int64_t tokens = problem.tokens;
    if (grad_bias) {
        require_shape(*grad_bias, "bias's gradient", {problem.heads, tokens, tokens});
        require_dtype(*grad_bias, "bias's gradient", dtype);
        require_contiguous(*grad_bias, "bias's gradient");
    }
    if (grad_logit_scale) {
        require_shape(*grad_logit_scale, "logit_scale's gradient", {problem.heads});
        require_dtype(*grad_logit_scale, "logit_scale's gradient", dtype);
        require_contiguous(*grad_logit_scale, "logit_scale's gradient");
        require(problem.logit_scale, "there is no logit_scale to have a gradient");
    }

    if (is_empty(problem)) {
        if (grad_bias) std::memset(grad_bias->data, 0, item_size(dtype) * problem.heads * tokens * tokens);
        if (grad_logit_scale) std::memset(grad_logit_scale->data, 0, item_size(dtype) * problem.heads);
        return;
    }
    const Kernel& kernel = kernel_of(qkv.dtype);
    const Division division(problem, 8);
    BiasSums bias_sums{nullptr, kernel.bias_stride(problem.tokens), static_cast<std::size_t>(item_size(dtype))};
    const std::size_t head_bytes = bias_sums.item * bias_sums.head_size(problem),
                      sum_bytes = grad_bias ? division.window_parts * problem.heads * head_bytes : 0,
                      piece = kernel.scratch_bytes(problem, division.most_heads(), true);
    Memory memory(aligned(sum_bytes) + Scratch::bytes(arguments.threads, piece));
    bias_sums.sums = memory.take(sum_bytes);
    Scratch scratch(arguments.threads, piece, memory);
    std::vector<double> logit_scale_sums(grad_logit_scale ? division.window_parts * problem.heads : 0);
    parallel_for(division.tasks(), arguments.threads, [&](std::int64_t i) {
        const Task task = division.task(i);
        const std::size_t first = i / division.head_parts * problem.heads + task.head_begin;
        char* bias_sum = grad_bias ? bias_sums.sums + first * head_bytes : nullptr;
        if (bias_sum) std::memset(bias_sum, 0, (task.head_end - task.head_begin) * head_bytes);
        scratch.lend([&](char* memory) {
            kernel.backward(problem, task, memory, bias_sum,
                            grad_logit_scale ? logit_scale_sums.data() + first : nullptr);
        });
        if (!grad_bias || division.window_parts > 1) return;
        for (int head = task.head_begin; head < task.head_end; ++head) {
            bias_sums.add_up(problem, division, head, *grad_bias);
        }
    });

    if (grad_bias && division.window_parts > 1) {
        parallel_for(problem.heads, arguments.threads, [&](std::int64_t head) {
            bias_sums.add_up(problem, division, static_cast<int>(head), *grad_bias);
        });
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
