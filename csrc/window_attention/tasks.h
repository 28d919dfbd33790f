// The kernels of a dtype, made of what works on one head of one window. For kernel sources only.
#pragma once

#include "common/simd_sums.h"
#include "window_attention/kernels.h"
#include "window_attention/rows.h"
#include "window_attention/softmax.h"
#include "window_attention/tokens.h"

namespace pyemo::PYEMO_ISA::window {

template <class Unit>
struct Tasks {
    using T = typename Unit::Element;
    using C = typename Unit::C;

    static int bias_stride(int tokens) { return Columns<C>(tokens).stride; }

    // One head's bias in units of log2(e), zeros if null; minus infinity in the vectors' columns that stand for no
    // token. Behind it, its last column.
    template <class From>
    static void pack_bias(int tokens, const From* from, C* to) {
        const Columns<C> columns(tokens);
        C* const last = to + static_cast<std::ptrdiff_t>(tokens) * columns.stride;
        clear(last, columns.stride);
        const Vec<C> log2e = broadcast(C(pyemo::window::kLog2E));
        for (int i = 0; i < tokens; ++i, to += columns.stride) {
            if (!from) {
                clear(to, columns.stride);
            } else if (tokens < kLanes<C>) {
                read_row<From, C>(reinterpret_cast<const char*>(from), tokens, to);
                store(to, load(to) * log2e);
                last[i] = to[tokens - 1];
            } else {
                for (int j = 0; j + kLanes<C> <= tokens; j += kLanes<C>) store(to + j, load(from + j) * log2e);
                // The last ones, some of them once more.
                const Vec<C> end = load(from + tokens - kLanes<C>) * log2e;
                if (!columns.single) store(to + tokens - kLanes<C>, end);
                last[i] = end[kLanes<C> - 1];
            }
            for (int j = tokens; j < columns.vectors * kLanes<C>; ++j) to[j] = -Ieee<C>::kInfinity;
            if (from) from += tokens;
        }
    }
    static void pack_bias(const Problem& problem, int head, C* to) {
        const std::ptrdiff_t first = static_cast<std::ptrdiff_t>(head) * problem.tokens * problem.tokens;
        if (problem.narrow_bias) {
            pack_bias(problem.tokens, static_cast<const T*>(problem.bias) + first, to);
        } else {
            const C* const bias = static_cast<const C*>(problem.bias);
            pack_bias(problem.tokens, bias ? bias + first : nullptr, to);
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
            [](Unit& unit, int head, const C* bias, const C* mask, C* kept) { unit.forward(head, bias, mask, kept); });
    }

    static void backward(const Problem& problem, const Task& task, char* scratch, void* grad_bias,
                         double* grad_logit_scale) {
        const std::ptrdiff_t bias_size = static_cast<std::ptrdiff_t>(problem.tokens) * bias_stride(problem.tokens);
        run(problem, task, scratch, true, [&](Unit& unit, int head, const C* bias, const C* mask, const C* kept) {
            const int i = head - task.head_begin;
            unit.backward(head, bias, mask, grad_bias ? static_cast<C*>(grad_bias) + i * bias_size : nullptr,
                          grad_logit_scale ? grad_logit_scale + i : nullptr, kept);
        });
    }

    static void add_up(int tokens, const char* sums, std::size_t part_bytes, std::int64_t parts, char* target,
                       bool narrow) {
        const auto add = narrow ? simd::add<T, C> : simd::add<C, C>;
        const std::ptrdiff_t row_bytes = tokens * static_cast<std::ptrdiff_t>(narrow ? sizeof(T) : sizeof(C));
        for (int i = 0; i < tokens; ++i) {
            const C* const row =
                reinterpret_cast<const C*>(sums) + static_cast<std::ptrdiff_t>(i) * bias_stride(tokens);
            add(row, parts, part_bytes / sizeof(C), tokens, target + i * row_bytes);
        }
    }

    template <class Visit>
    static void run(const Problem& problem, const Task& task, char* scratch, bool backward, const Visit& visit) {
        [[maybe_unused]] const typename Unit::Session session;
        Unit unit(problem, backward, scratch);
        unit.prepare(backward);
        const int tokens = problem.tokens;
        const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(tokens + 1) * bias_stride(tokens);
        C* const biases = take<C>(scratch, (task.head_end - task.head_begin) * size);
        for (int head = task.head_begin; head < task.head_end; ++head) {
            pack_bias(problem, head, biases + (head - task.head_begin) * size);
        }
        const std::size_t kept_bytes = problem.kept ? Unit::kept_bytes(problem) : 0;
        unit.route.begin(task);
        for (std::int64_t index = task.window_begin; index < task.window_end; ++index) {
            unit.route.enter(task, index);
            const C* mask = unit.mask.of(Window(problem, index));
            for (int head = task.head_begin; head < task.head_end; ++head) {
                unit.route.enter_head(task, head);
                C* const kept = reinterpret_cast<C*>(problem.kept + (index * problem.heads + head) * kept_bytes);
                visit(unit, head, biases + (head - task.head_begin) * size, mask, kept_bytes ? kept : nullptr);
            }
        }
    }

    static constexpr pyemo::window::Kernel kernel() {
        return {bias_stride, scratch_bytes, Unit::kept_bytes, forward, backward, add_up};
    }
};

}  // namespace pyemo::PYEMO_ISA::window
