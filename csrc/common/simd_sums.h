// Sums over parts, rounded once. For kernel sources only.
#pragma once

#include "common/simd.h"

namespace pyemo::PYEMO_ISA::simd {

// out = the sum of so many rows of `count` elements, which are `stride` apart.
template <class T, class C>
inline void add(const C* terms, std::int64_t rows, std::ptrdiff_t stride, std::int64_t count, char* out) {
    constexpr int n = kLanes<C>;
    T* to = reinterpret_cast<T*>(out);
    std::int64_t i = 0;
    for (; i + n <= count; i += n) {
        Vec<C> sum = load(terms + i);
        for (std::int64_t r = 1; r < rows; ++r) sum += load(terms + r * stride + i);
        store(to + i, sum);
    }
    if (i == count) return;
    C last[n] = {};
    for (std::int64_t k = i; k < count; ++k) {
        for (std::int64_t r = 0; r < rows; ++r) last[k - i] += terms[r * stride + k];
    }
    T values[n];
    store(values, load(last));
    std::memcpy(static_cast<void*>(to + i), values, (count - i) * sizeof(T));
}

}  // namespace pyemo::PYEMO_ISA::simd
