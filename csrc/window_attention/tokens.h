// Where the tokens of a window lie, and what is added to their logits. For kernel sources only.
#pragma once

#include <algorithm>
#include <utility>

#include "common/simd_matrix.h"
#include "window_attention/problem.h"

namespace pyemo::PYEMO_ISA::window {

using namespace simd;
using pyemo::window::Map, pyemo::window::Problem, pyemo::window::Task;

// A part of the scratch memory.
template <class T>
inline T* take(char*& scratch, std::size_t count) {
    T* const taken = reinterpret_cast<T*>(scratch);
    scratch += (count * sizeof(T) + 63) / 64 * 64;
    return taken;
}

template <class T>
inline void clear(T* data, std::size_t count) {
    std::memset(static_cast<void*>(data), 0, count * sizeof(T));
}

// A window's place in the map.
struct Window {
    std::int64_t image, row, column;  // row and column count windows

    Window(const Problem& problem, std::int64_t index)
        : image(index / (problem.rows_of_windows * problem.columns_of_windows)),
          row(index / problem.columns_of_windows % problem.rows_of_windows),
          column(index % problem.columns_of_windows) {}

    // The bytes from the map's begin to each token, seen through the cyclic shift. `pattern`: from a window's first
    // token to each, where the shift has not torn the window apart.
    void place(const Problem& problem, const Map& map, const std::ptrdiff_t* pattern, std::ptrdiff_t* offsets) const {
        const std::int64_t top = row * problem.window_height + problem.shift_height,
                           left = column * problem.window_width + problem.shift_width;
        if (top + problem.window_height <= problem.height && left + problem.window_width <= problem.width) {
            const std::ptrdiff_t first = image * map.batch + top * map.row + left * map.column;
            for (int token = 0; token < problem.tokens; ++token) offsets[token] = first + pattern[token];
            return;
        }
        for (int y = 0, token = 0; y < problem.window_height; ++y) {
            const std::int64_t map_row = (top + y) % problem.height;
            const std::ptrdiff_t start = image * map.batch + map_row * map.row;
            std::int64_t map_column = left % problem.width;
            for (int x = 0; x < problem.window_width; ++x, ++token) {
                offsets[token] = start + map_column * map.column;
                if (++map_column == problem.width) map_column = 0;
            }
        }
    }

    // Whether the shift brought together, in this window, tokens that were apart.
    bool is_mixed(const Problem& problem) const {
        return (problem.shift_height && row == problem.rows_of_windows - 1) ||
               (problem.shift_width && column == problem.columns_of_windows - 1);
    }

    // A number for each token that is the same where they were neighbours.
    template <class T>
    void regions(const Problem& problem, T* region) const {
        const bool last_row = row == problem.rows_of_windows - 1,
                   last_column = column == problem.columns_of_windows - 1;
        for (int token = 0; token < problem.tokens; ++token) {
            const int y = token / problem.window_width, x = token % problem.window_width;
            region[token] = T((last_row && y >= problem.window_height - problem.shift_height ? 2 : 0) +
                              (last_column && x >= problem.window_width - problem.shift_width ? 1 : 0));
        }
    }
};

// Where the tokens of a window lie in each map, in bytes from its begin.
struct Places {
    std::ptrdiff_t *qkv, *output, *grad_qkv;

    Places(int tokens, char*& scratch)
        : qkv(take<std::ptrdiff_t>(scratch, tokens)),
          output(take<std::ptrdiff_t>(scratch, tokens)),
          grad_qkv(take<std::ptrdiff_t>(scratch, tokens)) {}

    // From the first token of a window to each.
    void set_pattern(const Problem& problem) const {
        for (int token = 0; token < problem.tokens; ++token) {
            const int y = token / problem.window_width, x = token % problem.window_width;
            qkv[token] = y * problem.qkv.row + x * problem.qkv.column;
            output[token] = y * problem.output.row + x * problem.output.column;
            grad_qkv[token] = y * problem.grad_qkv.row + x * problem.grad_qkv.column;
        }
    }
    void set(const Problem& problem, const Window& window, const Places& pattern) const {
        window.place(problem, problem.qkv, pattern.qkv, qkv);
        window.place(problem, problem.output, pattern.output, output);
        if (problem.grad_qkv.data) window.place(problem, problem.grad_qkv, pattern.grad_qkv, grad_qkv);
    }
};

// The way from unit to unit: where the tokens of this one lie, and what to fetch ahead for it and the one after it.
class Route {
  public:
    Route(const Problem& problem, bool backward, int element_bytes, char*& scratch)
        : problem_(problem),
          head_bytes_(static_cast<std::ptrdiff_t>(problem.head_dim) * element_bytes),
          pattern_(problem.tokens, scratch),
          here_(problem.tokens, scratch),
          there_(problem.tokens, scratch),
          ahead_(take<const char*>(scratch, Ahead::room(lines(problem, backward, head_bytes_), steps(problem))),
                 steps(problem)) {}

    void begin(const Task& task) {
        pattern_.set_pattern(problem_);
        there_.set(problem_, Window(problem_, task.window_begin), pattern_);
    }
    void enter(const Task& task, std::int64_t window) {
        std::swap(here_, there_);
        next_ = window + 1 < task.window_end ? &there_ : nullptr;
        if (next_) there_.set(problem_, Window(problem_, window + 1), pattern_);
    }
    void enter_head(const Task& task, int head) {
        const bool last = head + 1 == task.head_end;
        const Places* const next = last ? next_ : &here_;
        const int channel = last ? task.head_begin : head + 1, heads = problem_.heads;
        const auto add = [&](const Map& map, const std::ptrdiff_t* offsets, int first) {
            ahead_.add(map.data + first * head_bytes_, offsets, problem_.tokens, head_bytes_);
        };
        ahead_.begin();
        // What is written is fetched too: stores to lines that are not in the cache hold up those behind them.
        if (problem_.grad_qkv.data) {
            for (int part : {2, 0, 1}) add(problem_.grad_qkv, here_.grad_qkv, part * heads + head);
        } else {
            add(problem_.output, here_.output, head);
        }
        if (next) {
            for (int part : {0, 1, 2}) add(problem_.qkv, next->qkv, part * heads + channel);
            if (problem_.grad_qkv.data) add(problem_.output, next->output, channel);
        }
        ahead_.end();
    }

    const Places& places() const { return here_; }
    Ahead& ahead() { return ahead_; }

  private:
    static int lines(const Problem& problem, bool backward, std::ptrdiff_t head_bytes) {
        return problem.tokens * static_cast<int>((head_bytes + 63) / 64) * (backward ? 7 : 4);
    }
    static int steps(const Problem& problem) { return std::max({problem.tokens, problem.head_dim, 32}); }

    const Problem& problem_;
    std::ptrdiff_t head_bytes_;
    Places pattern_, here_, there_;
    const Places* next_ = nullptr;
    Ahead ahead_;
};

// What is added to the logits of one window, in units of log2(e), in rows of `stride`, and behind them the last column;
// null if nothing is.
template <class T>
class Mask {
  public:
    Mask(const Problem& problem, int stride, char*& scratch)
        : problem_(problem),
          stride_(stride),
          values_(take<T>(scratch, static_cast<std::size_t>(problem.tokens + 1) * stride)),
          region_(take<T>(scratch, stride)) {}

    const T* of(const Window& window) {
        const bool mixed = window.is_mixed(problem_);
        if (!mixed && !problem_.mask) return nullptr;
        const int tokens = problem_.tokens;
        if (mixed) {
            clear(region_, stride_);
            window.regions(problem_, region_);
            const Vec<T> penalty = broadcast(T(pyemo::window::kShiftPenalty * pyemo::window::kLog2E));
            for (int i = 0; i < tokens; ++i) {
                const Vec<T> own = broadcast(region_[i]);
                for (int j = 0; j < stride_; j += kLanes<T>) {
                    store(values_ + i * stride_ + j, load(region_ + j) != own ? penalty : Vec<T>{});
                }
            }
        }
        if (problem_.mask) {
            const std::int64_t index = window.row * problem_.columns_of_windows + window.column;
            const T* given = static_cast<const T*>(problem_.mask) + index * tokens * tokens;
            for (int i = 0; i < tokens; ++i) {
                for (int j = 0; j < tokens; ++j) {
                    const T value = given[i * tokens + j] * T(pyemo::window::kLog2E);
                    T& sum = values_[i * stride_ + j];
                    sum = mixed ? sum + value : value;
                }
                for (int j = tokens; j < stride_; ++j) values_[i * stride_ + j] = T(0);
            }
        }
        T* const last = values_ + static_cast<std::ptrdiff_t>(tokens) * stride_;
        clear(last, stride_);
        for (int i = 0; i < tokens; ++i) last[i] = values_[static_cast<std::ptrdiff_t>(i) * stride_ + tokens - 1];
        return values_;
    }

  private:
    const Problem& problem_;
    int stride_;
    T *values_, *region_;
};

}  // namespace pyemo::PYEMO_ISA::window
