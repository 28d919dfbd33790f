// Matrix products on tensor cores, a warp at a time. For CUDA sources only.
//
// A product is made of tiles of 16 rows, 8 columns and kDepth terms. Of a tile, lane 4 g + t holds, with every pair of
// numbers side by side: of the result, rows g and g + 8, columns 2 t and 2 t + 1. The factors lie in shared memory
// in rows of `stride` elements, either along the terms ("by rows") or across them ("by terms").
#pragma once

#include "common/cuda/device.cuh"

namespace pyemo::cuda {

struct Accumulator {
    float c[4];  // (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1)
};

namespace mma {

#ifdef PYEMO_CUDA_EMULATION

struct Factors {
    std::uint32_t a[4], b[2];
};

// `value(factors of a lane, register, half)` of the terms of 16 or 8.
template <int kDepth, class Value>
inline void multiply(Accumulator& result, const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                     const Value& value) {
    Factors own{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    emulation::exchange(emulation::kProduct, &own, sizeof(own));
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
    constexpr int kPacked = kDepth / 8;
    for (int i = 0; i < 4; ++i) {
        const int row = g + 8 * (i / 2), column = 2 * t + i % 2;
        float sum = result.c[i];
        for (int k = 0; k < kDepth; ++k) {
            const int holder = k % (4 * kPacked) / kPacked, upper = k / (4 * kPacked), part = k % kPacked;
            const auto* left = static_cast<const Factors*>(emulation::offered(row % 8 * 4 + holder));
            const auto* right = static_cast<const Factors*>(emulation::offered(column * 4 + holder));
            sum += value(left->a[row / 8 + 2 * upper], part) * value(right->b[upper], part);
        }
        result.c[i] = sum;
    }
}

template <class T>
inline void multiply16(Accumulator& result, const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    multiply<16>(result, a, b, [](std::uint32_t bits, int part) {
        const auto word = static_cast<std::uint16_t>(bits >> (16 * part));
        T x;
        memcpy(&x, &word, sizeof(x));
        return widen(x);
    });
}

inline void multiply_tf32(Accumulator& result, const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    multiply<8>(result, a, b, [](std::uint32_t bits, int) { return __uint_as_float(bits & 0xffffe000u); });
}

// Register i of the result is that of the 8x8 matrix whose row r lane 8 i + r points to.
template <bool kTransposed>
inline void load_matrices(std::uint32_t (&m)[4], const void* row) {
    emulation::exchange(emulation::kMatrices, &row, sizeof(row));
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
    const auto element = [](int matrix, int r, int c) {
        const void* start;
        memcpy(&start, emulation::offered(8 * matrix + r), sizeof(start));
        std::uint16_t value;
        memcpy(&value, static_cast<const char*>(start) + 2 * c, sizeof(value));
        return std::uint32_t{value};
    };
    for (int i = 0; i < 4; ++i) {
        m[i] = kTransposed ? element(i, 2 * t, g) | element(i, 2 * t + 1, g) << 16
                           : element(i, g, 2 * t) | element(i, g, 2 * t + 1) << 16;
    }
}

#else

// Before 8.0 a tensor core takes 8 terms at a time, and half alone.
template <class T>
__device__ __forceinline__ void multiply16(Accumulator& result, const std::uint32_t (&a)[4],
                                           const std::uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void multiply16<half>(Accumulator& result, const std::uint32_t (&a)[4],
                                                 const std::uint32_t (&b)[2]) {
    float (&c)[4] = result.c;
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
    for (int k = 0; k < 2; ++k) {
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[2 * k]), "r"(a[2 * k + 1]), "r"(b[k]));
    }
#endif
}
template <>
__device__ __forceinline__ void multiply16<bfloat16>(Accumulator& result, const std::uint32_t (&a)[4],
                                                     const std::uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    float (&c)[4] = result.c;
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

__device__ __forceinline__ void multiply_tf32(Accumulator& result, const std::uint32_t (&a)[4],
                                              const std::uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    float (&c)[4] = result.c;
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

template <bool kTransposed>
__device__ __forceinline__ void load_matrices(std::uint32_t (&m)[4], const void* row) {
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    if constexpr (kTransposed) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                     : "r"(address)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                     : "r"(address)
                     : "memory");
    }
}

#endif

}  // namespace mma

// The products of T: kDepth terms at a time; the left factor in 4 registers, the right one in 2.
template <class T>
struct Matrix {
    static constexpr int kDepth = 16;
    static constexpr int kPad = 8;  // elements more in a row, so that the rows of a tile start in different banks

    struct Left {
        std::uint32_t a[4];
    };
    struct Right {
        std::uint32_t b[2];
    };

    // 16 rows from `tile` on, each along the terms.
    static __device__ __forceinline__ Left left_by_rows(const T* tile, int stride, int lane) {
        Left left;
        mma::load_matrices<false>(left.a, tile + (lane & 15) * stride + (lane >> 4) * 8);
        return left;
    }

    // Rows of 16 terms each, of which 16 columns are the rows of the factor.
    static __device__ __forceinline__ Left left_by_terms(const T* tile, int stride, int lane) {
        Left left;
        mma::load_matrices<true>(left.a, tile + ((lane & 7) + (lane >> 4) * 8) * stride + (lane >> 3 & 1) * 8);
        return left;
    }

    // Two tiles side by side: 16 columns of the factor, each a row along the terms.
    static __device__ __forceinline__ void right_by_rows(Right (&right)[2], const T* tile, int stride, int lane) {
        std::uint32_t m[4];
        mma::load_matrices<false>(m, tile + ((lane & 7) + (lane >> 4) * 8) * stride + (lane >> 3 & 1) * 8);
        right[0] = {{m[0], m[1]}}, right[1] = {{m[2], m[3]}};
    }

    // The same of rows of 16 columns, one for each term.
    static __device__ __forceinline__ void right_by_terms(Right (&right)[2], const T* tile, int stride, int lane) {
        std::uint32_t m[4];
        mma::load_matrices<true>(m, tile + (lane & 15) * stride + (lane >> 4) * 8);
        right[0] = {{m[0], m[1]}}, right[1] = {{m[2], m[3]}};
    }

    // Tiles of results as a left factor: their columns are the terms.
    static constexpr int kTiles = 2;
    static __device__ __forceinline__ Left left_of(const Accumulator* tiles) {
        return {{pack<T>(tiles[0].c[0], tiles[0].c[1]), pack<T>(tiles[0].c[2], tiles[0].c[3]),
                 pack<T>(tiles[1].c[0], tiles[1].c[1]), pack<T>(tiles[1].c[2], tiles[1].c[3])}};
    }

    static __device__ __forceinline__ void multiply(Accumulator& result, const Left& left, const Right& right) {
        mma::multiply16<T>(result, left.a, right.b);
    }

    static __device__ __forceinline__ void store_pair(T* target, float first, float second) {
        *reinterpret_cast<std::uint32_t*>(target) = pack<T>(first, second);
    }
};

// float as sums of two tf32 numbers each, of whose products the smallest is left out: what is lost is about 2^-21 of a
// product. The terms of what lies by terms, and of results, are taken in the order 0 2 4 6 1 3 5 7, in which results
// need not move between lanes.
template <>
struct Matrix<float> {
    static constexpr int kDepth = 8;
    static constexpr int kPad = 4;

    struct Left {
        float a[4];
    };
    struct Right {
        float b[2];
    };

    static __device__ __forceinline__ Left left_by_rows(const float* tile, int stride, int lane) {
        const float* p = tile + (lane >> 2) * stride + (lane & 3);
        return {{p[0], p[8 * stride], p[4], p[8 * stride + 4]}};
    }
    static __device__ __forceinline__ Left left_by_terms(const float* tile, int stride, int lane) {
        const float* p = tile + (lane & 3) * 2 * stride + (lane >> 2);
        return {{p[0], p[8], p[stride], p[stride + 8]}};
    }
    static __device__ __forceinline__ void right_by_rows(Right (&right)[2], const float* tile, int stride, int lane) {
        const float* p = tile + (lane >> 2) * stride + (lane & 3);
        right[0] = {{p[0], p[4]}}, right[1] = {{p[8 * stride], p[8 * stride + 4]}};
    }
    static __device__ __forceinline__ void right_by_terms(Right (&right)[2], const float* tile, int stride, int lane) {
        const float* p = tile + (lane & 3) * 2 * stride + (lane >> 2);
        right[0] = {{p[0], p[stride]}}, right[1] = {{p[8], p[stride + 8]}};
    }

    static constexpr int kTiles = 1;
    static __device__ __forceinline__ Left left_of(const Accumulator* tiles) {
        return {{tiles[0].c[0], tiles[0].c[2], tiles[0].c[1], tiles[0].c[3]}};
    }

    static __device__ __forceinline__ void split(float x, std::uint32_t& high, std::uint32_t& low) {
        high = __float_as_uint(x) & 0xffffe000u;
        low = __float_as_uint(x - __uint_as_float(high));
    }
    static __device__ __forceinline__ void multiply(Accumulator& result, const Left& left, const Right& right) {
        std::uint32_t a_high[4], a_low[4], b_high[2], b_low[2];
#pragma unroll
        for (int i = 0; i < 4; ++i) split(left.a[i], a_high[i], a_low[i]);
#pragma unroll
        for (int i = 0; i < 2; ++i) split(right.b[i], b_high[i], b_low[i]);
        mma::multiply_tf32(result, a_low, b_high);
        mma::multiply_tf32(result, a_high, b_low);
        mma::multiply_tf32(result, a_high, b_high);
    }

    static __device__ __forceinline__ void store_pair(float* target, float first, float second) {
        *reinterpret_cast<float2*>(target) = make_float2(first, second);
    }
};

}  // namespace pyemo::cuda
