// What the host side of the CUDA kernels shares.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace pyemo::cuda {

// Where a caller's work goes: a stream of a device.
struct Queue {
    int device;
    cudaStream_t stream;
};

// Throws std::runtime_error, which is a RuntimeError in Python.
void check(cudaError_t status, const char* what);

// Makes a device the current one of this thread for as long as it lives.
class DeviceGuard {
  public:
    explicit DeviceGuard(int device);
    ~DeviceGuard();
    DeviceGuard(const DeviceGuard&) = delete;

  private:
    int before_ = 0, device_;
};

struct Limits {
    int multiprocessors;
    int capability;                 // 90 for 9.0
    int shared_bytes;               // that a block may have at most
    int shared_bytes_of_processor;  // that the blocks on a multiprocessor share
};

// Of a device, asked for once.
const Limits& limits(int device);

// Blocks of a grid, or an error if there are too many.
unsigned grid_size(std::int64_t blocks);

// Queues a kernel on the current device. Nothing waits and nothing is allocated, so that a CUDA graph can record it.
template <class P>
void launch(const Queue& queue, void (*kernel)(P), dim3 grid, int threads, std::size_t shared_bytes,
            const P& parameters) {
    constexpr std::size_t kWithoutAsking = 48 << 10;
    if (shared_bytes > kWithoutAsking) {
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared_bytes)),
              "shared memory");
    }
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = queue.stream;
    check(cudaLaunchKernelEx(&config, kernel, parameters), "launch");
}

}  // namespace pyemo::cuda
