#pragma once

#include <cstdint>

namespace pyemo {

// Calls body(i) for i in [0, count) on up to `threads` threads of the OpenMP runtime that torch runs on, in no
// particular order; on the calling thread alone if one of the two is 1, if no such runtime is loaded, or in a forked
// child, where the runtime's threads no longer exist. `body` must not throw.
template <class Body>
void parallel_for(std::int64_t count, int threads, const Body& body);

namespace detail {
void parallel_for(std::int64_t count, int threads, void (*body)(const void*, std::int64_t), const void* context);
}

template <class Body>
void parallel_for(std::int64_t count, int threads, const Body& body) {
    detail::parallel_for(
        count, threads, [](const void* context, std::int64_t i) { (*static_cast<const Body*>(context))(i); }, &body);
}

// Whether a runtime was found.
bool has_parallel_runtime();

}  // namespace pyemo
