#include "common/cuda/launch.h"

#include <array>
#include <mutex>

namespace pyemo::cuda {

void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // the next call is not to find it
    throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

DeviceGuard::DeviceGuard(int device) : device_(device) {
    check(cudaGetDevice(&before_), "current device");
    if (before_ != device) check(cudaSetDevice(device), "device");
}

DeviceGuard::~DeviceGuard() {
    if (before_ != device_) cudaSetDevice(before_);
}

const Limits& limits(int device) {
    constexpr int kMostDevices = 256;
    static std::array<Limits, kMostDevices> known{};
    static std::array<std::once_flag, kMostDevices> asked;
    if (device < 0 || device >= kMostDevices) {
        throw std::invalid_argument("there is no CUDA device " + std::to_string(device));
    }
    std::call_once(asked[device], [&] {
        const auto attribute = [&](cudaDeviceAttr name) {
            int value = 0;
            check(cudaDeviceGetAttribute(&value, name, device), "device attribute");
            return value;
        };
        known[device] = {
            attribute(cudaDevAttrMultiProcessorCount),
            10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor),
            attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin), attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor)};
    });
    return known[device];
}

unsigned grid_size(std::int64_t blocks) {
    if (blocks < 1 || blocks > 0x7fffffff) {
        throw std::invalid_argument("a grid of " + std::to_string(blocks) + " blocks is out of CUDA's range");
    }
    return static_cast<unsigned>(blocks);
}

}  // namespace pyemo::cuda
