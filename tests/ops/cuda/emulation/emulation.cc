#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime.h"

#define PYEMO_EXPORT extern "C" __attribute__((visibility("default")))

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulation {

char* shared_memory;

namespace {

constexpr std::size_t kStack = 1 << 17;
constexpr std::size_t kOffer = 64;  // bytes that a lane can offer

enum State { ready, at_block, at_warp, done };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStack]};
    State state = done;
    Kind kind = kBlockBarrier;
    int meetings = 0;
    std::vector<std::pair<void*, const void*>> copies;  // not yet in a group
    std::deque<std::vector<std::pair<void*, const void*>>> groups;
};

ucontext_t scheduler;
std::vector<std::unique_ptr<Fiber>> fibers;
int running;
const std::function<void()>* body;
std::vector<char> offers;
std::string failure;
int order = 0;
std::mutex mutex;

struct Device {
    int current = 0, count = 2, multiprocessors = 2, shared_bytes = 232448 - 1024, capability = 90;
    std::vector<int> visited;                       // what cudaSetDevice was called with
    std::vector<std::pair<int, long long>> queues;  // device and stream of each launch
    std::map<const void*, int> shared_limits;
} device;

void enter() {
    try {
        (*body)();
    } catch (const std::exception& error) {
        failure = error.what();
    }
    fibers[running]->state = done;
    swapcontext(&fibers[running]->context, &scheduler);
}

void wait(State state, Kind kind) {
    Fiber& fiber = *fibers[running];
    fiber.state = state;
    fiber.kind = kind;
    swapcontext(&fiber.context, &scheduler);
}

char* slot(int fiber, int meeting) {
    return offers.data() + (static_cast<std::size_t>(fiber) * 2 + meeting % 2) * kOffer;
}

// Lets the fibers [begin, end) go on if all that are left wait in `state`.
bool release(int begin, int end, State state) {
    int kind = 0;
    for (int f = begin; f < end; ++f) {
        if (fibers[f]->state == done) continue;
        if (fibers[f]->state != state) return false;
        if (kind && kind != fibers[f]->kind) throw std::runtime_error("lanes of a warp meet in different operations");
        kind = fibers[f]->kind;
    }
    for (int f = begin; f < end; ++f) {
        if (fibers[f]->state == state) fibers[f]->state = ready;
    }
    return kind != 0;
}

// Shared memory that ends where the process may not read, and starts as garbage.
class SharedMemory {
  public:
    explicit SharedMemory(std::size_t bytes)
        : page_(sysconf(_SC_PAGESIZE)), whole_((bytes + page_ - 1) / page_ * page_) {
        base_ = static_cast<char*>(
            mmap(nullptr, whole_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (base_ == MAP_FAILED) throw std::bad_alloc();
        mprotect(base_ + whole_, page_, PROT_NONE);
        start = base_ + whole_ - (bytes + 15) / 16 * 16;
    }
    ~SharedMemory() { munmap(base_, whole_ + page_); }
    void spoil() { std::memset(base_, 0xff, whole_); }
    char* start;

  private:
    std::size_t page_, whole_;
    char* base_;
};

void run_block(int threads) {
    std::vector<int> turns(threads);
    std::iota(turns.begin(), turns.end(), 0);
    if (order == 1) std::reverse(turns.begin(), turns.end());
    std::minstd_rand random(order);
    for (int f = 0; f < threads; ++f) {
        Fiber& fiber = *fibers[f];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = kStack;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
        fiber.state = ready;
        fiber.meetings = 0;
        fiber.copies.clear();
        fiber.groups.clear();
    }
    for (int left = threads; left > 0;) {
        if (order > 1) std::shuffle(turns.begin(), turns.end(), random);
        bool moved = false;
        for (const int f : turns) {
            if (fibers[f]->state != ready) continue;
            moved = true;
            running = f;
            threadIdx = {static_cast<unsigned>(f), 0, 0};
            swapcontext(&scheduler, &fibers[f]->context);
            if (fibers[f]->state == done) --left;
        }
        if (!failure.empty()) throw std::runtime_error(failure);
        for (int f = 0; f < threads; f += kWarp) moved |= release(f, std::min(f + kWarp, threads), at_warp);
        moved |= release(0, threads, at_block);
        if (left > 0 && !moved)
            throw std::runtime_error("threads of a block wait for each other at different barriers");
    }
}

}  // namespace

void meet_block() { wait(at_block, kBlockBarrier); }

void meet_warp(Kind kind) { wait(at_warp, kind); }

void exchange(Kind kind, const void* given, std::size_t size) {
    if (size > kOffer) throw std::runtime_error("too much to exchange");
    Fiber& fiber = *fibers[running];
    std::memcpy(slot(running, ++fiber.meetings), given, size);
    wait(at_warp, kind);
}

const void* offered(int lane) {
    const int fiber = running / kWarp * kWarp + lane;
    return slot(fiber, fibers[running]->meetings);
}

void copy_later(void* target, const void* source) {
    if (reinterpret_cast<std::uintptr_t>(target) % 16 || reinterpret_cast<std::uintptr_t>(source) % 16) {
        throw std::runtime_error("an asynchronous copy from or to where 16 bytes are not aligned");
    }
    fibers[running]->copies.emplace_back(target, source);
}

void commit_copies() {
    fibers[running]->groups.push_back(std::move(fibers[running]->copies));
    fibers[running]->copies.clear();
}

void wait_for_copies(int groups_left) {
    auto& groups = fibers[running]->groups;
    for (; static_cast<int>(groups.size()) > groups_left; groups.pop_front()) {
        for (const auto& [target, source] : groups.front()) std::memcpy(target, source, 16);
    }
}

void run(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread) {
    const std::lock_guard<std::mutex> lock(mutex);
    const int threads = static_cast<int>(block.x);
    while (static_cast<int>(fibers.size()) < threads) fibers.push_back(std::make_unique<Fiber>());
    offers.assign(fibers.size() * 2 * kOffer, 0);
    gridDim = grid, blockDim = block;
    body = &thread;
    failure.clear();
    SharedMemory memory(shared_bytes);
    shared_memory = memory.start;
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, z};
                memory.spoil();
                run_block(threads);
            }
        }
    }
}

cudaError_t check_launch(const cudaLaunchConfig_t& config, const void* kernel) {
    const std::size_t threads = std::size_t{config.blockDim.x} * config.blockDim.y * config.blockDim.z;
    const auto found = device.shared_limits.find(kernel);
    const std::size_t shared = found == device.shared_limits.end() ? 48 << 10 : found->second;
    if (threads == 0 || threads > 1024 || config.gridDim.x == 0 || config.gridDim.x > 0x7fffffff ||
        config.gridDim.y == 0 || config.gridDim.y > 65535 || config.dynamicSmemBytes > shared) {
        return cudaErrorInvalidConfiguration;
    }
    device.queues.emplace_back(device.current, reinterpret_cast<long long>(config.stream));
    return cudaSuccess;
}

}  // namespace emulation

using emulation::device;

const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess              ? "no error"
           : error == cudaErrorInvalidDevice ? "invalid device ordinal"
                                             : "invalid configuration";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDevice(int* current) {
    *current = device.current;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int index) {
    if (index < 0 || index >= device.count) return cudaErrorInvalidDevice;
    device.visited.push_back(index);
    device.current = index;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
    if (index < 0 || index >= device.count) return cudaErrorInvalidDevice;
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount:
            *value = device.multiprocessors;
            break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
            *value = device.shared_bytes;
            break;
        case cudaDevAttrComputeCapabilityMajor:
            *value = device.capability / 10;
            break;
        case cudaDevAttrComputeCapabilityMinor:
            *value = device.capability % 10;
            break;
    }
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
    if (value > device.shared_bytes) return cudaErrorInvalidConfiguration;
    device.shared_limits[kernel] = value;
    return cudaSuccess;
}

// For the tests, which load the module as a library too.

// The order in which threads run between two meetings: 0 rising, 1 falling, others at random.
PYEMO_EXPORT void emulation_set_order(int order) { emulation::order = order; }
PYEMO_EXPORT void emulation_set_device(int current) { device.current = current; }
PYEMO_EXPORT int emulation_device() { return device.current; }
PYEMO_EXPORT int emulation_visited(int* devices, int most) {
    std::copy_n(device.visited.begin(), std::min<std::size_t>(most, device.visited.size()), devices);
    return static_cast<int>(device.visited.size());
}
PYEMO_EXPORT int emulation_queues(long long* pairs, int most) {
    for (int i = 0; i < std::min<int>(most, static_cast<int>(device.queues.size())); ++i) {
        pairs[2 * i] = device.queues[i].first;
        pairs[2 * i + 1] = device.queues[i].second;
    }
    return static_cast<int>(device.queues.size());
}
PYEMO_EXPORT void emulation_forget() {
    device.visited.clear();
    device.queues.clear();
}
