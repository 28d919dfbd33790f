#pragma once

#include "common/cuda/launch.h"

namespace pyemo::cuda {

// Adds up (parts, count) along the parts, in an order that depends on nothing but their number. No parts give zeros.
template <class T>
struct Sums {
    const T* parts;
    std::int64_t count;
    int part_count;
    T* total;
    T factor;
};

template <class T>
void launch_sums(const Queue& queue, const Sums<T>& sums);

}  // namespace pyemo::cuda
