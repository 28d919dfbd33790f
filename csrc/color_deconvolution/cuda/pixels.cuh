// Pixels in registers. For CUDA sources only.
#pragma once

#include <type_traits>

#include "color_deconvolution/cuda/kernels.h"
#include "common/cuda/device.cuh"

namespace pyemo::color::cuda {

using namespace pyemo::cuda;

constexpr int kVector = 4;  // pixels that a thread works on together
constexpr double kLn2 = 0.693147180559945309417;

// The matrix in the registers of each thread.
template <class C, int kIn, int kOut>
struct Coefficients {
    C k[kIn][kOut];

    __device__ __forceinline__ explicit Coefficients(const Matrix& matrix) {
#pragma unroll
        for (int c = 0; c < kIn; ++c) {
#pragma unroll
            for (int o = 0; o < kOut; ++o) {
                const int i = c * kOut + o;
                k[c][o] = static_cast<C>(matrix.on_device ? matrix.on_device[i] * matrix.scale : matrix.values[i]);
            }
        }
    }
    __device__ __forceinline__ C output(const C (&x)[kIn], int o) const {
        C sum = x[0] * k[0][o];
#pragma unroll
        for (int c = 1; c < kIn; ++c) sum += x[c] * k[c][o];
        return sum;
    }
};

__device__ __forceinline__ float log2_of(float x) { return __log2f(x); }  // within 2^-22
__device__ __forceinline__ double log2_of(double x) { return log2(x); }
__device__ __forceinline__ float exp2_of(float x) { return exp2f(x); }
__device__ __forceinline__ double exp2_of(double x) { return exp2(x); }

// Of a colour; NaN stays what it is.
template <class C>
__device__ __forceinline__ C logarithm(C x) {
    return log2_of(x < static_cast<C>(kDarkest) ? static_cast<C>(kDarkest) : x);
}

template <class C>
__device__ __forceinline__ C clipped(Direction direction, C y) {
    if (direction == Direction::deconvolution) return y < 0 ? C(0) : y;
    return y > 1 ? C(1) : y;
}

// kVector numbers in one access.
template <class T>
struct alignas(sizeof(T) * kVector) Piece {
    T items[kVector];
};

// The kVector pixels of each lane, kChannels pieces. Packed pixels pass through shared memory, so that neighbouring
// lanes access neighbouring pieces of the array.
template <class T, int kChannels, bool kPacked>
struct Vectors {
    static constexpr bool kExchanged = kPacked && kChannels > 1;
    static constexpr int kExchangeBytes = kExchanged ? kWarp * kChannels * static_cast<int>(sizeof(Piece<T>)) : 0;

    Piece<T> pieces[kChannels];

    __device__ __forceinline__ T& at(int pixel, int channel) {
        const int item = kPacked ? pixel * kChannels + channel : channel * kVector + pixel;
        return pieces[item / kVector].items[item % kVector];
    }

    // `start`: of the run of pixels. `first`: the warp's first vector in it; `left`: vectors from there to its end.
    __device__ __forceinline__ void load(const char* start, std::ptrdiff_t channel, std::int64_t first, int left,
                                         int lane) {
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
            const std::int64_t index = kExchanged ? first * kChannels + c * kWarp + lane : first + lane;
            const bool inside = kExchanged ? c * kWarp + lane < left * kChannels : lane < left;
            const char* from = kExchanged ? start : start + c * channel;
            if (inside) pieces[c] = reinterpret_cast<const Piece<T>*>(from)[index];
        }
    }
    // What load() has brought to where it belongs.
    __device__ __forceinline__ void arrange(char* exchange, int lane) {
        if constexpr (kExchanged) {
            auto* shared = reinterpret_cast<Piece<T>*>(exchange);
#pragma unroll
            for (int c = 0; c < kChannels; ++c) shared[c * kWarp + lane] = pieces[c];
            __syncwarp();
#pragma unroll
            for (int c = 0; c < kChannels; ++c) pieces[c] = shared[lane * kChannels + c];
            __syncwarp();
        }
    }
    __device__ __forceinline__ void store(char* start, std::ptrdiff_t channel, std::int64_t first, int left, int lane,
                                          char* exchange) {
        if constexpr (kExchanged) {
            auto* shared = reinterpret_cast<Piece<T>*>(exchange);
#pragma unroll
            for (int c = 0; c < kChannels; ++c) shared[lane * kChannels + c] = pieces[c];
            __syncwarp();
#pragma unroll
            for (int c = 0; c < kChannels; ++c) {
                if (c * kWarp + lane < left * kChannels) {
                    reinterpret_cast<Piece<T>*>(start)[first * kChannels + c * kWarp + lane] = shared[c * kWarp + lane];
                }
            }
            __syncwarp();
        } else {
#pragma unroll
            for (int c = 0; c < kChannels; ++c) {
                if (lane < left) reinterpret_cast<Piece<T>*>(start + c * channel)[first + lane] = pieces[c];
            }
        }
    }
};

// Where the element `index`, counted over the first `dims` loops, lies in each array.
template <int kArrays>
__device__ __forceinline__ void place(const Loops<kArrays>& loops, int dims, std::int64_t index,
                                      std::ptrdiff_t (&offsets)[kArrays]) {
#pragma unroll
    for (int a = 0; a < kArrays; ++a) offsets[a] = 0;
    for (int d = dims - 1; d >= 0; --d) {
        const std::int64_t size = loops.sizes[d];
        std::int64_t rest;
        if (((index | size) >> 32) == 0) {
            rest = static_cast<std::uint32_t>(index) / static_cast<std::uint32_t>(size);
        } else {
            rest = index / size;
        }
        const std::int64_t position = index - rest * size;
#pragma unroll
        for (int a = 0; a < kArrays; ++a) offsets[a] += position * loops.strides[a][d];
        index = rest;
    }
}

// Blocks take tiles of neighbouring vectors of a run (the innermost loop), one after the other.
template <int kArrays>
struct Runs {
    std::int64_t vectors, tiles_each, tiles;

    __device__ __forceinline__ Runs(const Loops<kArrays>& loops, int tile) {
        const std::int64_t length = loops.sizes[loops.dims - 1];
        vectors = length / kVector;
        tiles_each = (vectors + tile - 1) / tile;
        tiles = length ? loops.count / length * tiles_each : 0;
    }
};

__device__ __forceinline__ int limited(std::int64_t x) { return x > kWarp ? kWarp : static_cast<int>(x); }

// One number of an array of any dtype.
template <class C>
__device__ __forceinline__ C load_any(DType dtype, const char* from) {
    switch (dtype) {
        case DType::uint8:
            return static_cast<C>(*reinterpret_cast<const unsigned char*>(from));
        case DType::float16:
            return static_cast<C>(widen(*reinterpret_cast<const half*>(from)));
        case DType::bfloat16:
            return static_cast<C>(widen(*reinterpret_cast<const bfloat16*>(from)));
        case DType::float64:
            return static_cast<C>(*reinterpret_cast<const double*>(from));
        default:
            return static_cast<C>(*reinterpret_cast<const float*>(from));
    }
}

template <class C>
__device__ __forceinline__ void store_any(DType dtype, char* to, C value) {
    switch (dtype) {
        case DType::float16:
            *reinterpret_cast<half*>(to) = narrow<half>(static_cast<float>(value));
            return;
        case DType::bfloat16:
            *reinterpret_cast<bfloat16*>(to) = narrow<bfloat16>(static_cast<float>(value));
            return;
        case DType::float64:
            *reinterpret_cast<double*>(to) = static_cast<double>(value);
            return;
        default:
            *reinterpret_cast<float*>(to) = static_cast<float>(value);
    }
}

}  // namespace pyemo::color::cuda
