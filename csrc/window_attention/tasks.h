// The kernels of a dtype, made of what works on one head of one window. For kernel sources only.
#pragma once

#include "window_attention/kernels.h"
#include "window_attention/softmax.h"
#include "window_attention/tokens.h"

namespace pyemo::PYEMO_ISA::window {

template <class Unit>
struct Tasks {
    using C = typename Unit::C;

    static int bias_stride(int tokens) { return Columns<C>(tokens).stride; }

    // One head's bias in units of log2(e), zeros if null; minus infinity in the vectors' columns that stand for no
    // token. Behind it, its last column.
    static void pack_bias(int tokens, const C* from, C* to) {
        const Columns<C> columns(tokens);
        const C log2e = C(pyemo::window::kLog2E);
        C* const last = to + static_cast<std::ptrdiff_t>(tokens) * columns.stride;
        clear(last, columns.stride);
        for (int i = 0; i < tokens; ++i, to += columns.stride, from += from ? tokens : 0) {
            last[i] = from ? from[tokens - 1] * log2e : C(0);
            int j = 0;
            for (; j + kLanes<C> <= tokens; j += kLanes<C>) store(to + j, from ? load(from + j) * log2e : Vec<C>{});
            for (; j < tokens; ++j) to[j] = from ? from[j] * log2e : C(0);
            for (; j < columns.vectors * kLanes<C>; ++j) to[j] = -Ieee<C>::kInfinity;
        }
    }

    static std::size_t scratch_bytes(const Problem& problem, int heads, bool backward) {
        char* const begin = reinterpret_cast<char*>(64);  // never used, only counted from
        char* end = begin;
        Unit(problem, backward, end);
        take<C>(end, static_cast<std::size_t>(heads) * (problem.tokens + 1) * bias_stride(problem.tokens));
        return static_cast<std::size_t>(end - begin);
    }

    static void forward(const Problem& problem, const Task& task, char* scratch) {
        run(problem, task, scratch, false,
            [](Unit& unit, int head, const C* bias, const C* mask) { unit.forward(head, bias, mask); });
    }

    static void backward(const Problem& problem, const Task& task, char* scratch, void* grad_bias,
                         double* grad_logit_scale) {
        const std::ptrdiff_t bias_size = static_cast<std::ptrdiff_t>(problem.tokens) * bias_stride(problem.tokens);
        run(problem, task, scratch, true, [&](Unit& unit, int head, const C* bias, const C* mask) {
            const int i = head - task.head_begin;
            unit.backward(head, bias, mask, grad_bias ? static_cast<C*>(grad_bias) + i * bias_size : nullptr,
                          grad_logit_scale ? grad_logit_scale + i : nullptr);
        });
    }

    template <class Visit>
    static void run(const Problem& problem, const Task& task, char* scratch, bool backward, const Visit& visit) {
        [[maybe_unused]] const typename Unit::Session session;
        Unit unit(problem, backward, scratch);
        unit.prepare(backward);
        const int tokens = problem.tokens;
        const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(tokens + 1) * bias_stride(tokens);
        C* const biases = take<C>(scratch, (task.head_end - task.head_begin) * size);
        const C* given = static_cast<const C*>(problem.bias);
        for (int head = task.head_begin; head < task.head_end; ++head) {
            pack_bias(tokens, given ? given + static_cast<std::ptrdiff_t>(head) * tokens * tokens : nullptr,
                      biases + (head - task.head_begin) * size);
        }
        unit.route.begin(task);
        for (std::int64_t index = task.window_begin; index < task.window_end; ++index) {
            unit.route.enter(task, index);
            const C* mask = unit.mask.of(Window(problem, index));
            for (int head = task.head_begin; head < task.head_end; ++head) {
                unit.route.enter_head(task, head);
                visit(unit, head, biases + (head - task.head_begin) * size, mask);
            }
        }
    }

    static constexpr pyemo::window::Kernel kernel() { return {bias_stride, scratch_bytes, forward, backward}; }
};

}  // namespace pyemo::PYEMO_ISA::window
