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

    static void pack_bias(int tokens, const void* bias, void* packed) {
        const int stride = bias_stride(tokens);
        const C* from = static_cast<const C*>(bias);
        C* to = static_cast<C*>(packed);
        for (int i = 0; i < tokens; ++i, to += stride) {
            for (int j = 0; j < tokens; ++j) to[j] = from ? from[i * tokens + j] * C(pyemo::window::kLog2E) : C(0);
            for (int j = tokens; j < stride; ++j) to[j] = -Ieee<C>::kInfinity;
        }
    }

    static std::size_t scratch_bytes(const Problem& problem, bool backward) {
        char* const begin = reinterpret_cast<char*>(64);  // never used, only counted from
        char* end = begin;
        Unit(problem, backward, end);
        return static_cast<std::size_t>(end - begin);
    }

    static void forward(const Problem& problem, const Task& task, char* scratch) {
        run(problem, task, scratch, false, [](Unit& unit, int head, const C* mask) { unit.forward(head, mask); });
    }

    static void backward(const Problem& problem, const Task& task, char* scratch, void* grad_bias,
                         double* grad_logit_scale) {
        const std::ptrdiff_t bias_size = static_cast<std::ptrdiff_t>(problem.tokens) * bias_stride(problem.tokens);
        run(problem, task, scratch, true, [&](Unit& unit, int head, const C* mask) {
            const int i = head - task.head_begin;
            unit.backward(head, mask, grad_bias ? static_cast<C*>(grad_bias) + i * bias_size : nullptr,
                          grad_logit_scale ? grad_logit_scale + i : nullptr);
        });
    }

    template <class Visit>
    static void run(const Problem& problem, const Task& task, char* scratch, bool backward, const Visit& visit) {
        [[maybe_unused]] const typename Unit::Session session;
        Unit unit(problem, backward, scratch);
        unit.prepare(backward);
        const C* mask = nullptr;
        unit.walk.run(
            task, [&](const Window& window) { mask = unit.mask.of(window); },
            [&](int head) { visit(unit, head, mask); });
    }

    static constexpr pyemo::window::Kernel kernel() {
        return {bias_stride, pack_bias, scratch_bytes, forward, backward};
    }
};

}  // namespace pyemo::PYEMO_ISA::window
