// Sums over parts, rounded once. For kernel sources only.
#pragma once

#include "common/simd.h"

namespace pyemo::PYEMO_ISA::dense {

template <class T>
inline void add(const float* terms, int rows, std::ptrdiff_t stride, std::int64_t count, char* out) {
    using namespace simd;
    constexpr int n = kLanes<float>;
    T* to = reinterpret_cast<T*>(out);
    std::int64_t i = 0;
    for (; i + n <= count; i += n) {
        Vec<float> sum = load(terms + i);
        for (int r = 1; r < rows; ++r) sum += load(terms + r * stride + i);
        store(to + i, sum);
    }
    if (i == count) return;
    float last[n] = {};
    for (std::int64_t k = i; k < count; ++k) {
        for (int r = 0; r < rows; ++r) last[k - i] += terms[r * stride + k];
    }
    T values[n];
    store(values, load(last));
    std::memcpy(to + i, values, (count - i) * sizeof(T));
}

}  // namespace pyemo::PYEMO_ISA::dense
