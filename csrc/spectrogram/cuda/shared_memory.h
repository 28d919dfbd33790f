// How much shared memory the blocks take, and how frames are divided among them.
#pragma once

#include <algorithm>
#include <cstddef>

#include "spectrogram/cuda/kernels.h"

namespace pyemo::spectrogram::cuda {

struct SharedMemory {
    static constexpr std::size_t kWanted = 72 << 10;  // of a block, so that some fit on a multiprocessor

    int n, bins, rows, item;
    int group = 32;  // threads that work on a frame, about eight of its numbers each

    SharedMemory(int n, int bins, int rows, int item) : n(n), bins(bins), rows(rows), item(item) {
        while (group < kThreads && group * 8 < n) group *= 2;
    }

    int groups() const { return kThreads / group; }
    std::size_t forward(int chunk) const {
        const int stride = chunk > 1 ? chunk + 1 : 1;
        return static_cast<std::size_t>(item) *
               (std::size_t{2} * groups() * padded(n) + std::size_t{1} * bins * stride);
    }
    std::size_t backward(int span) const {
        return static_cast<std::size_t>(item) *
               (groups() * (std::size_t{2} * (padded(n) + bins) + rows) + static_cast<std::size_t>(span));
    }
    // Frames of a block: as many as fit, up to the lanes of a warp.
    int chunk(std::size_t most) const {
        int chunk = 32;
        while (chunk > 1 && forward(chunk) > std::min(most, kWanted)) chunk /= 2;
        return chunk;
    }
    // Samples of a block: several frames, so that few frames are transformed by two blocks.
    int span(std::size_t most, int n_fft) const {
        int span = std::max(4096, 2 * n_fft);
        while (span > 256 && backward(span) > most) span /= 2;
        return span;
    }
    // What both passes need at least.
    std::size_t least() const { return std::max(forward(1), backward(256)); }
};

}  // namespace pyemo::spectrogram::cuda
