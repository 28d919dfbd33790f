// What the kernels share: numbers, shared memory, copies. For CUDA sources only.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

namespace pyemo::cuda {

using half = __half;
using bfloat16 = __nv_bfloat16;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#ifdef PYEMO_CUDA_EMULATION
    return reinterpret_cast<T*>(emulation::shared_memory);
#else
    extern __shared__ uint4 memory[];
    return reinterpret_cast<T*>(memory);
#endif
}

// From the types of arrays to those that are computed with.
__device__ __forceinline__ float widen(half x) { return __half2float(x); }
__device__ __forceinline__ float widen(bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }

template <class T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ half narrow<half>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ __forceinline__ bfloat16 narrow<bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ float narrow<float>(float x) {
    return x;
}
template <class T>
__device__ __forceinline__ T narrow(double x) {
    return static_cast<T>(x);
}

// Two neighbours, the first in the lower half.
template <class T>
__device__ __forceinline__ std::uint32_t pack(float first, float second);
template <>
__device__ __forceinline__ std::uint32_t pack<half>(float first, float second) {
    const __half2 both = __floats2half2_rn(first, second);
    std::uint32_t bits;
    memcpy(&bits, &both, sizeof(bits));
    return bits;
}
template <>
__device__ __forceinline__ std::uint32_t pack<bfloat16>(float first, float second) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
    std::uint32_t bits;
    memcpy(&bits, &both, sizeof(bits));
    return bits;
}

// 2^x, what would be subnormal as 0; within two units in the last place.
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef PYEMO_CUDA_EMULATION
    return x < -126 ? 0.0f : exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// 16 bytes into shared memory, in the background where the machine can; there once their group has been waited for.
__device__ __forceinline__ void copy_async(void* shared, const void* global) {
#ifdef PYEMO_CUDA_EMULATION
    emulation::copy_later(shared, global);
#elif __CUDA_ARCH__ >= 800
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))),
        "l"(global)
        : "memory");
#else
    *static_cast<uint4*>(shared) = __ldg(static_cast<const uint4*>(global));
#endif
}

__device__ __forceinline__ void commit_copies() {
#ifdef PYEMO_CUDA_EMULATION
    emulation::commit_copies();
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most so many of the latest groups are under way.
template <int kGroupsLeft>
__device__ __forceinline__ void wait_for_copies() {
#ifdef PYEMO_CUDA_EMULATION
    emulation::wait_for_copies(kGroupsLeft);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");
#endif
}

// Over `kLanes` neighbouring lanes, every one of which gets the result: the same bits on all of them.
template <int kLanes, class T>
__device__ __forceinline__ T sum_of_lanes(T value) {
#pragma unroll
    for (int distance = kLanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
    return value;
}

template <int kLanes, class T>
__device__ __forceinline__ T largest_of_lanes(T value) {
#pragma unroll
    for (int distance = kLanes / 2; distance > 0; distance /= 2) {
        const T other = __shfl_xor_sync(kAllLanes, value, distance);
        value = other > value ? other : value;
    }
    return value;
}

}  // namespace pyemo::cuda
