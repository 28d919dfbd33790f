#include "common/parallel.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>

namespace pyemo {

namespace {

// GNU's entry point to a parallel region, which LLVM's and Intel's runtimes offer too on Linux.
using GompParallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);

// Linking against libgomp would bring a second runtime, with its own pool of threads, wherever torch ships its own
// under another name (libgomp-<hash>.so, libiomp5.so). So nothing is linked: the symbol is looked up in torch's own
// library, a search that covers exactly what that library depends on; failing this, among everything the process has
// loaded.
GompParallel find_runtime() {
    void* symbol = nullptr;
    if (void* torch = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD)) {
        symbol = dlsym(torch, "GOMP_parallel");
        dlclose(torch);
    }
    if (!symbol) symbol = dlsym(RTLD_DEFAULT, "GOMP_parallel");
    return reinterpret_cast<GompParallel>(symbol);
}

GompParallel runtime() {
    static const GompParallel found = find_runtime();
    return found;
}

std::atomic<bool> forked{false};
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });

struct Region {
    std::int64_t count;
    void (*body)(const void*, std::int64_t);
    const void* context;
    std::atomic<std::int64_t> next{0};
};

void work(void* argument) {
    Region& region = *static_cast<Region*>(argument);
    for (std::int64_t i; (i = region.next.fetch_add(1, std::memory_order_relaxed)) < region.count;) {
        region.body(region.context, i);
    }
}

}  // namespace

bool has_parallel_runtime() { return runtime() != nullptr; }

void detail::parallel_for(std::int64_t count, int threads, void (*body)(const void*, std::int64_t),
                          const void* context) {
    const auto team = static_cast<unsigned>(std::max<std::int64_t>(1, std::min<std::int64_t>(threads, count)));
    if (team == 1 || forked || !runtime()) {
        for (std::int64_t i = 0; i < count; ++i) body(context, i);
        return;
    }
    Region region{count, body, context};
    runtime()(work, &region, team, 0);
}

}  // namespace pyemo
