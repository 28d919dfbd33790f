// The CUDA kernels of window attention, as the host code sees them.
#pragma once

#include "common/cuda/launch.h"
#include "common/dtype.h"
#include "window_attention/problem.h"

namespace pyemo::window::cuda {

using pyemo::cuda::Queue;

// Tokens are worked on in chunks of so many: a warp for each 16.
constexpr int kChunk = 64;
constexpr int kWarps = kChunk / 16;

// What a kernel works on. The windows are cut into `parts`, of which each head is a block.
struct Work {
    Problem problem;
    bool aligned;  // whether rows of a head can be moved 16 bytes at a time
    int stages;    // windows in shared memory at once: 2 to load one while another is worked on
    std::int64_t windows;
    int parts;
    // Of the backward pass, to be added up, or null: (parts, heads, tokens, tokens), and (parts, heads) or, of the
    // general kernels, (parts, tokens, heads); in the type that is computed with, as what follows.
    void* bias_sums;
    void* scale_sums;
    // Of the general kernels: the largest logit, the inverse sum of powers and the mean gradient of each row, (windows,
    // heads, tokens) each.
    void* statistics;
};

// Blocks of the kernels for windows of one chunk that a multiprocessor has registers for.
constexpr int forward_blocks(int width, int item) { return width == 32 && item == 2 ? 4 : 3; }
constexpr int backward_blocks(int width, int item) { return width == 32 && item == 2 ? 3 : 2; }

// How the tensor-core kernels lay out a block's shared memory: in elements of tiles, and bytes.
struct Layout {
    int width;   // channels of a head, rounded up to what there is a kernel for
    int stride;  // elements from one token to the next
    int rows;    // tokens, rounded up to whole chunks
    int item;    // bytes of an element
    int tiles;   // of a stage: queries, keys, values; backwards also the output's gradient

    Layout(int width, int tokens, int item, int tiles)
        : width(width),
          stride(width + 16 / item),
          rows((tokens + kChunk - 1) / kChunk * kChunk),
          item(item),
          tiles(tiles) {}

    std::size_t stage_bytes() const { return static_cast<std::size_t>(tiles) * rows * stride * item; }
    // Rows of a chunk's probabilities, or of the gradient of its logits.
    int staging_stride() const { return kChunk + 16 / item; }
    std::size_t staging_bytes() const { return static_cast<std::size_t>(kChunk) * staging_stride() * item; }
    // Inverse lengths of queries and keys.
    std::size_t lengths_bytes() const { return 2 * sizeof(float) * rows; }
    // Of several chunks, backwards: two numbers a row, and the gradient of the queries.
    std::size_t rows_bytes() const { return 2 * sizeof(float) * rows; }
    int query_stride() const { return width + 4; }
    std::size_t query_bytes() const { return sizeof(float) * rows * query_stride(); }

    std::size_t forward_bytes(int stages) const { return stages * stage_bytes() + lengths_bytes(); }
    std::size_t backward_bytes(int stages, bool chunked) const {
        return stages * stage_bytes() + 2 * staging_bytes() + lengths_bytes() + kWarps * sizeof(double) +
               (chunked ? rows_bytes() + query_bytes() : 0);
    }
};

// Tensor-core kernels: heads of a width of 32, 64 and 128 for half and bfloat16, of 32 and 64 for float32. Those for
// windows of one chunk (not `chunked`) are for rows of up to 128 bytes.
void launch_forward(const Queue& queue, DType dtype, int width, bool chunked, int threads, std::size_t shared_bytes,
                    const Work& work);
void launch_backward(const Queue& queue, DType dtype, int width, bool chunked, std::size_t shared_bytes,
                     const Work& work);

// For any size, dtype and machine.
constexpr int kGeneralWarps = 4;
void launch_general_forward(const Queue& queue, DType dtype, const Work& work);
void launch_general_backward(const Queue& queue, DType dtype, const Work& work);

}  // namespace pyemo::window::cuda
