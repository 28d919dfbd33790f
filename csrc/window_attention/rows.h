// Rows of tokens: from and to the maps, and the lengths of cosine attention. For kernel sources only.
#pragma once

#include <cmath>

#include "common/simd_matrix.h"
#include "window_attention/problem.h"

namespace pyemo::PYEMO_ISA::window {

using namespace simd;

// Reads `count` elements into whole vectors, the rest of the last one zeros.
template <class T, class C>
inline void read_row(const char* from, int count, C* to) {
    const T* source = reinterpret_cast<const T*>(from);
    int i = 0;
    for (; i + kLanes<C> <= count; i += kLanes<C>) store(to + i, load(source + i));
    if (i < count) {
        T rest[kLanes<C>] = {};
        std::memcpy(static_cast<void*>(rest), source + i, sizeof(T) * (count - i));
        store(to + i, load(rest));
    }
}

template <class T, class C>
inline void write_row(const C* from, int count, C factor, char* to) {
    T* target = reinterpret_cast<T*>(to);
    const Vec<C> wide = broadcast(factor);
    int i = 0;
    for (; i + kLanes<C> <= count; i += kLanes<C>) store(target + i, load(from + i) * wide);
    if (i < count) {
        T rest[kLanes<C>];
        store(rest, load(from + i) * wide);
        std::memcpy(static_cast<void*>(target + i), rest, sizeof(T) * (count - i));
    }
}

template <class T, class A, class B>
inline T dot(int width, const A* a, const B* b) {
    Vec<T> sum = {};
    for (int j = 0; j < width; j += kLanes<T>) sum += load(a + j) * load(b + j);
    return static_cast<T>(simd::sum<T>(sum));
}

// The factors of cosine attention for queries or keys: 1 / length.
template <class T, class A>
inline void inverse_lengths(int rows, int width, const A* const* x, T* inverse) {
    for (int i = 0; i < rows; ++i) {
        const T length = std::sqrt(dot<T>(width, x[i], x[i]));
        inverse[i] = T(1) / (length < T(pyemo::window::kShortest) ? T(pyemo::window::kShortest) : length);
    }
}

// Through the normalization of cosine attention's queries or keys: `grad` loses what points along x. Returns the sum of
// the products of x and `grad` as it was.
template <class T, class A>
inline double project_out(int rows, int width, const A* const* x, const T* inverse, T* grad) {
    double sum = 0;
    for (int i = 0; i < rows; ++i, grad += width) {
        const T along = dot<T>(width, x[i], grad);
        sum += static_cast<double>(along);
        // A vector that counts as kShortest long is only scaled.
        if (!(inverse[i] < T(1 / pyemo::window::kShortest))) continue;
        const Vec<T> factor = broadcast(along * inverse[i] * inverse[i]);
        for (int j = 0; j < width; j += kLanes<T>) store(grad + j, load(grad + j) - factor * load(x[i] + j));
    }
    return sum;
}

}  // namespace pyemo::PYEMO_ISA::window
