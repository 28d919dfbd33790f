#include "common/cuda/device.cuh"
#include "common/cuda/sums.h"

namespace pyemo::cuda {

namespace {

// 32 numbers, and 8 groups of parts: part p is in group p % 8. Groups are added up in their order.
constexpr int kGroups = 8;

template <class T>
__global__ void __launch_bounds__(kGroups* kWarp) add_up(const __grid_constant__ Sums<T> sums) {
    T* const of_group = dynamic_shared<T>();
    const int lane = threadIdx.x % kWarp, group = threadIdx.x / kWarp;
    const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane;
    T sum = 0;
    if (index < sums.count) {
#pragma unroll 8
        for (int part = group; part < sums.part_count; part += kGroups) sum += sums.parts[part * sums.count + index];
    }
    of_group[group * kWarp + lane] = sum;
    __syncthreads();
    if (group != 0 || index >= sums.count) return;
    for (int g = 1; g < kGroups; ++g) sum += of_group[g * kWarp + lane];
    sums.total[index] = sum * sums.factor;
}

}  // namespace

template <class T>
void launch_sums(const Queue& queue, const Sums<T>& sums) {
    launch(queue, add_up<T>, dim3(grid_size((sums.count + kWarp - 1) / kWarp)), kGroups * kWarp,
           kGroups * kWarp * sizeof(T), sums);
}

template void launch_sums(const Queue&, const Sums<float>&);
template void launch_sums(const Queue&, const Sums<double>&);

}  // namespace pyemo::cuda
