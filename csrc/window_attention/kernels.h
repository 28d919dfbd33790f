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
    void (*forward)(const Problem&, const Task&, char* scratch);
    // `grad_bias`: (heads of the task, tokens, bias_stride), added to; `grad_logit_scale`: (heads of the task,), added
    // to. Either may be null.
    void (*backward)(const Problem&, const Task&, char* scratch, void* grad_bias, double* grad_logit_scale);
};

struct Kernels {
    Kernel of[kDTypeCount];  // forward is null where there is none
};

}  // namespace pyemo::window
