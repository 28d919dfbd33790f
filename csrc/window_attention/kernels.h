#pragma once

#include "common/dtype.h"
#include "window_attention/problem.h"

namespace pyemo::window {

// The kernels of one dtype. Types that a `void*` stands for: float, or double where the dtype is double.
struct Kernel {
    // Elements from one row of a sum of bias gradients to the next.
    int (*bias_stride)(int tokens);

    // Bytes that a task of so many heads needs to work in, aligned to 64.
    std::size_t (*scratch_bytes)(const Problem&, int heads, bool backward);
    // Bytes that are worth keeping of each head of each window, 0 if none are.
    std::size_t (*kept_bytes)(const Problem&);
    void (*forward)(const Problem&, const Task&, char* scratch);
    // `grad_bias`: (heads of the task, tokens, bias_stride), added to; `grad_logit_scale`: (heads of the task,), added
    // to. Either may be null.
    void (*backward)(const Problem&, const Task&, char* scratch, void* grad_bias, double* grad_logit_scale);

    // The sum of `parts` such sums of one head, `part_bytes` apart, into its gradient (tokens, tokens): of the maps'
    // type if it is `narrow`.
    void (*add_up)(int tokens, const char* sums, std::size_t part_bytes, std::int64_t parts, char* target, bool narrow);
};

struct Kernels {
    Kernel of[kDTypeCount];  // forward is null where there is none
};

}  // namespace pyemo::window
