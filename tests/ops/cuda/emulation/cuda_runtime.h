// Enough of the CUDA runtime to compile pyemo's kernels for the CPU, where every thread of a block is a context of its
// own that runs until it waits for others. A block's barrier, a warp's barrier and a warp's exchange are the only
// places where threads meet, so a forgotten barrier shows as a wrong result, in one order of the threads or in another.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define PYEMO_CUDA_EMULATION 1

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

struct uint3 {
    unsigned x, y, z;
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace emulation {

constexpr int kWarp = 32;

extern char* shared_memory;

enum Kind { kBlockBarrier = 1, kWarpBarrier, kShuffle, kProduct, kMatrices };

// Waits for all threads of the block, or of the warp, to come to the same kind of operation.
void meet_block();
void meet_warp(Kind kind);
// Waits for the warp; `given` of lane i is then at offered(i), until the warp meets next but one.
void exchange(Kind kind, const void* given, std::size_t size);
const void* offered(int lane);

// Asynchronous copies of 16 bytes, done as late as they may be: when the thread waits for their group.
void copy_later(void* target, const void* source);
void commit_copies();
void wait_for_copies(int groups_left);

void run(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread);

}  // namespace emulation

inline void __syncthreads() { emulation::meet_block(); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulation::meet_warp(emulation::kWarpBarrier); }

template <class T>
T __shfl_sync(unsigned, T value, int source, int = 32) {
    emulation::exchange(emulation::kShuffle, &value, sizeof(T));
    std::memcpy(&value, emulation::offered(source & 31), sizeof(T));
    return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int = 32) {
    return __shfl_sync(mask, value, static_cast<int>(threadIdx.x % 32) ^ lanes);
}

template <class T>
T __ldg(const T* p) {
    return *p;
}
template <class T>
void __stcs(T* p, T value) {
    *p = value;
}
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
using std::max;
using std::min;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidDevice = 101, cudaErrorInvalidConfiguration = 9 };
using cudaStream_t = struct Stream*;
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount,
    cudaDevAttrMaxSharedMemoryPerBlockOptin,
    cudaDevAttrMaxSharedMemoryPerMultiprocessor,
    cudaDevAttrComputeCapabilityMajor,
    cudaDevAttrComputeCapabilityMinor,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
    void* attrs = nullptr;
    unsigned numAttrs = 0;
};

namespace emulation {
cudaError_t check_launch(const cudaLaunchConfig_t& config, const void* kernel);
}

template <class P>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P), const P& parameters) {
    const cudaError_t error = emulation::check_launch(*config, reinterpret_cast<const void*>(kernel));
    if (error != cudaSuccess) return error;
    emulation::run(config->gridDim, config->blockDim, config->dynamicSmemBytes, [&] { kernel(parameters); });
    return cudaSuccess;
}
