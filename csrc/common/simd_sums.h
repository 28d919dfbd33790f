// Sums over parts, rounded once, and values as floats. For kernel sources only.
#pragma once

#include "common/simd.h"

namespace pyemo::PYEMO_ISA::simd {

// out = the sum of so many rows of `count` elements, which are `stride` apart.
template <class T, class C>
inline void add(const C* terms, std::int64_t rows, std::ptrdiff_t stride, std::int64_t count, char* out) {
    constexpr int n = kLanes<C>;
    T* to = reinterpret_cast<T*>(out);
    const auto add_at = [&](std::int64_t i) {
        Vec<C> sum = load(terms + i);
        for (std::int64_t r = 1; r < rows; ++r) sum += load(terms + r * stride + i);
        store(to + i, sum);
    };
    std::int64_t i = 0;
    for (; i + n <= count; i += n) add_at(i);
    if (i == count) return;
    if (count >= n) {  // the last ones, some of them once more
        add_at(count - n);
        return;
    }
    C last[n] = {};
    for (std::int64_t k = i; k < count; ++k) {
        for (std::int64_t r = 0; r < rows; ++r) last[k - i] += terms[r * stride + k];
    }
    T values[n];
    store(values, load(last));
    std::memcpy(static_cast<void*>(to + i), values, (count - i) * sizeof(T));
}

// to = so many elements as floats.
template <class T>
inline void widen_all(const char* from, std::int64_t count, float* to) {
    const T* values = reinterpret_cast<const T*>(from);
    constexpr int n = kLanes<float>;
    std::int64_t i = 0;
    for (; i + n <= count; i += n) store(to + i, load(values + i));
    if (i == count) return;
    T last[n] = {};
    std::memcpy(static_cast<void*>(last), values + i, (count - i) * sizeof(T));
    float wide[n];
    store(wide, load(last));
    std::memcpy(to + i, wide, (count - i) * sizeof(float));
}

}  // namespace pyemo::PYEMO_ISA::simd
