#include "common/parallel.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <vector>

namespace pyemo {

namespace {

// GNU's entry point to a parallel region, which LLVM's and Intel's runtimes offer too on Linux.
using GompParallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);

struct Runtime {
    GompParallel parallel;
    int (*thread)();  // this one's number in its team
};

// Linking against libgomp would bring a second runtime, with its own pool of threads, wherever torch ships its own
// under another name (libgomp-<hash>.so, libiomp5.so). So nothing is linked: the symbols are looked up in torch's own
// library, a search that covers exactly what that library depends on; failing this, among everything the process has
// loaded.
Runtime find_runtime() {
    const auto search = [](void* library) {
        return Runtime{reinterpret_cast<GompParallel>(dlsym(library, "GOMP_parallel")),
                       reinterpret_cast<int (*)()>(dlsym(library, "omp_get_thread_num"))};
    };
    Runtime found{};
    if (void* torch = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD)) {
        found = search(torch);
        dlclose(torch);
    }
    return found.parallel && found.thread ? found : search(RTLD_DEFAULT);
}

const Runtime& runtime() {
    static const Runtime found = find_runtime();
    return found;
}

std::atomic<bool> forked{false};
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });

// Each thread has a part of its own, as in PyTorch's loops, so that it finds in its caches what it wrote there in the
// operation before; those that are done early take from the others' parts.
struct alignas(64) Part {
    std::atomic<std::int64_t> next;
    std::int64_t end;
};

struct Region {
    std::vector<Part> parts;
    void (*body)(const void*, std::int64_t);
    const void* context;

    Region(std::int64_t count, std::size_t team, void (*body)(const void*, std::int64_t), const void* context)
        : parts(team), body(body), context(context) {
        for (std::size_t t = 0; t < team; ++t) {
            parts[t].next = static_cast<std::int64_t>(t) * count / static_cast<std::int64_t>(team);
            parts[t].end = static_cast<std::int64_t>(t + 1) * count / static_cast<std::int64_t>(team);
        }
    }
};

void work(void* argument) {
    Region& region = *static_cast<Region*>(argument);
    const std::size_t team = region.parts.size(), own = static_cast<std::size_t>(runtime().thread());
    for (std::size_t t = 0; t < team; ++t) {
        Part& part = region.parts[(own + t) % team];
        for (std::int64_t i; (i = part.next.fetch_add(1, std::memory_order_relaxed)) < part.end;) {
            region.body(region.context, i);
        }
    }
}

}  // namespace

bool has_parallel_runtime() { return runtime().parallel && runtime().thread; }

void detail::parallel_for(std::int64_t count, int threads, void (*body)(const void*, std::int64_t),
                          const void* context) {
    const auto team = static_cast<unsigned>(std::max<std::int64_t>(1, std::min<std::int64_t>(threads, count)));
    if (team == 1 || forked || !has_parallel_runtime()) {
        for (std::int64_t i = 0; i < count; ++i) body(context, i);
        return;
    }
    Region region(count, team, body, context);
    runtime().parallel(work, &region, team, 0);
}

}  // namespace pyemo
