#include "color_deconvolution/kernels.h"

#include <type_traits>

#include "common/simd_math.h"

namespace pyemo::PYEMO_ISA {

namespace {

using namespace simd;
using color::Direction, color::kColors, color::Map, color::Pixels;

constexpr int kTile = 512;  // pixels staged at once; all buffers together stay in the first-level cache

template <class T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Pixels side by side in memory are used where they are. Others are brought into this buffer, one plane a channel, and
// back.
template <class T, int kChannels>
struct Tile {
    T buffer[kChannels][kTile];
    T* plane[kChannels];
    bool staged;

    // A length that is no multiple of the vector's is staged as well, so that nothing beyond the run is touched.
    void place(Pixels pixels, int count) {
        staged = pixels.pixel != sizeof(T) || count % kLanes<Compute<T>> != 0;
        for (int c = 0; c < kChannels; ++c) {
            plane[c] = staged ? buffer[c] : reinterpret_cast<T*>(pixels.data + c * pixels.channel);
        }
    }

    void read(Pixels pixels, int count) {
        place(pixels, count);
        if (!staged) return;
        if (interleaved(pixels)) {
            const T* __restrict source = reinterpret_cast<const T*>(pixels.data);
            T* __restrict first = buffer[0], * __restrict second = buffer[1 % kChannels], * __restrict third = buffer[2 % kChannels];
            for (int i = 0; i < count; ++i) {
                first[i] = source[3 * i];
                second[i] = source[3 * i + 1];
                third[i] = source[3 * i + 2];
            }
        } else {
            for (int c = 0; c < kChannels; ++c) {
                const char* source = pixels.data + c * pixels.channel;
                for (int i = 0; i < count; ++i) std::memcpy(&buffer[c][i], source + i * pixels.pixel, sizeof(T));
            }
        }
        for (int c = 0; c < kChannels; ++c) {
            for (int i = count; i % kLanes<Compute<T>> != 0; ++i) buffer[c][i] = T{};
        }
    }

    void write(Pixels pixels, int count) const {
        if (!staged) return;
        if (interleaved(pixels)) {
            T* __restrict target = reinterpret_cast<T*>(pixels.data);
            const T* __restrict first = buffer[0], * __restrict second = buffer[1 % kChannels], * __restrict third = buffer[2 % kChannels];
            for (int i = 0; i < count; ++i) {
                target[3 * i] = first[i];
                target[3 * i + 1] = second[i];
                target[3 * i + 2] = third[i];
            }
        } else {
            for (int c = 0; c < kChannels; ++c) {
                char* target = pixels.data + c * pixels.channel;
                for (int i = 0; i < count; ++i) std::memcpy(target + i * pixels.pixel, &buffer[c][i], sizeof(T));
            }
        }
    }

    // Three channels side by side, as in (..., H, W, 3): written so that the compiler turns it into shuffles.
    static bool interleaved(Pixels pixels) {
        return kChannels == 3 && pixels.channel == sizeof(T) && pixels.pixel == 3 * sizeof(T);
    }
};

template <class Body>
inline void for_tiles(std::int64_t count, int lanes, const Body& body) {
    for (std::int64_t start = 0; start < count;) {
        std::int64_t length = count - start < kTile ? count - start : kTile;
        if (length > lanes) length -= length % lanes;
        body(start, static_cast<int>(length));
        start += length;
    }
}

inline Pixels at(Pixels pixels, std::int64_t index) {
    return {pixels.data + index * pixels.pixel, pixels.channel, pixels.pixel};
}

template <Direction kDirection, class T, int kStains>
struct Kernel {
    static constexpr bool kDeconvolution = kDirection == Direction::deconvolution;
    static constexpr int kIn = color::inputs(kDirection, kStains), kOut = color::outputs(kDirection, kStains);
    using C = Compute<T>;
    using V = Vec<C>;

    // The vectors that the matrix is applied to.
    static void load_inputs(const Map& map, T* const (&plane)[kIn], int i, V (&x)[kIn]) {
        for (int c = 0; c < kIn; ++c) {
            if constexpr (std::is_same_v<T, std::uint8_t>) {
                x[c] = lookup(map.log2_uint8, plane[c] + i);
            } else if constexpr (kDeconvolution) {
                x[c] = log2<C>(at_least<C>(load(plane[c] + i), C(color::kDarkest)));
            } else {
                x[c] = load(plane[c] + i);
            }
        }
    }

    static V output_before_clipping(const C (&matrix)[kIn][kOut], const V (&x)[kIn], int o) {
        V sum = x[0] * matrix[0][o];
        for (int c = 1; c < kIn; ++c) sum += x[c] * matrix[c][o];
        if constexpr (!kDeconvolution) sum = exp2<C>(sum);
        return sum;
    }

    static void load_matrix(const Map& map, C (&matrix)[kIn][kOut]) {
        for (int c = 0; c < kIn; ++c) {
            for (int o = 0; o < kOut; ++o) matrix[c][o] = static_cast<C>(map.matrix[c * kOut + o]);
        }
    }

    static void forward(const Map& map, std::int64_t count, Pixels input, Pixels output) {
        C matrix[kIn][kOut];
        load_matrix(map, matrix);
        const C low = map.clip ? 0 : -Ieee<C>::kInfinity, high = map.clip ? 1 : Ieee<C>::kInfinity;
        Tile<T, kIn> in;
        Tile<C, kOut> out;
        for_tiles(count, kLanes<C>, [&](std::int64_t start, int length) {
            in.read(at(input, start), length);
            out.place(at(output, start), length);
            for (int i = 0; i < length; i += kLanes<C>) {
                V x[kIn];
                load_inputs(map, in.plane, i, x);
                for (int o = 0; o < kOut; ++o) {
                    const V y = output_before_clipping(matrix, x, o);
                    store(out.plane[o] + i, kDeconvolution ? at_least<C>(y, low) : at_most<C>(y, high));
                }
            }
            out.write(at(output, start), length);
        });
    }

    static void backward(const Map& map, std::int64_t count, Pixels grad_output, Pixels input, Pixels grad_input,
                         double* grad_matrix) {
        C matrix[kIn][kOut];
        load_matrix(map, matrix);
        Tile<T, kIn> in, grad_in;
        Tile<C, kOut> grad_out;
        for_tiles(count, kLanes<C>, [&](std::int64_t start, int length) {
            in.read(at(input, start), length);
            grad_out.read(at(grad_output, start), length);
            if (grad_input.data) grad_in.place(at(grad_input, start), length);
            V grad_m[kIn][kOut] = {};
            for (int i = 0; i < length; i += kLanes<C>) {
                V x[kIn], g[kOut];
                load_inputs(map, in.plane, i, x);
                for (int o = 0; o < kOut; ++o) {
                    g[o] = load(grad_out.plane[o] + i);
                    // A clipped output has no gradient; 2^z has itself, times ln 2.
                    if (kDeconvolution && !map.clip) continue;
                    const V y = output_before_clipping(matrix, x, o);
                    if (map.clip) g[o] = (kDeconvolution ? y >= 0 : y <= 1) ? g[o] : V{};
                    if (!kDeconvolution) g[o] *= y * C(kLn2);
                }
                if (grad_matrix) {
                    for (int c = 0; c < kIn; ++c) {
                        for (int o = 0; o < kOut; ++o) grad_m[c][o] += x[c] * g[o];
                    }
                }
                if constexpr (!std::is_same_v<T, std::uint8_t>) {
                    if (!grad_input.data) continue;
                    for (int c = 0; c < kIn; ++c) {
                        V sum = g[0] * matrix[c][0];
                        for (int o = 1; o < kOut; ++o) sum += g[o] * matrix[c][o];
                        if constexpr (kDeconvolution) {
                            const V color = load(in.plane[c] + i);
                            sum = color >= C(color::kDarkest) ? sum * C(1 / kLn2) / color : V{};
                        }
                        store(grad_in.plane[c] + i, sum);
                    }
                }
            }
            if (grad_input.data) grad_in.write(at(grad_input, start), length);
            if (!grad_matrix) return;
            for (int c = 0; c < kIn; ++c) {
                for (int o = 0; o < kOut; ++o) grad_matrix[c * kOut + o] += sum<C>(grad_m[c][o]);
            }
        });
    }
};

template <Direction kDirection, class T>
constexpr void add(color::Kernels& kernels, DType dtype) {
    auto& forward = kernels.forward[static_cast<int>(kDirection)][static_cast<int>(dtype)];
    auto& backward = kernels.backward[static_cast<int>(kDirection)][static_cast<int>(dtype)];
    forward[0] = Kernel<kDirection, T, 1>::forward;
    forward[1] = Kernel<kDirection, T, 2>::forward;
    forward[2] = Kernel<kDirection, T, 3>::forward;
    backward[0] = Kernel<kDirection, T, 1>::backward;
    backward[1] = Kernel<kDirection, T, 2>::backward;
    backward[2] = Kernel<kDirection, T, 3>::backward;
}

template <Direction kDirection>
constexpr void add_floating(color::Kernels& kernels) {
    add<kDirection, float>(kernels, DType::float32);
    add<kDirection, double>(kernels, DType::float64);
    add<kDirection, float16>(kernels, DType::float16);
    add<kDirection, bfloat16>(kernels, DType::bfloat16);
}

constexpr color::Kernels make_kernels() {
    color::Kernels kernels{};
    add<Direction::deconvolution, std::uint8_t>(kernels, DType::uint8);
    add_floating<Direction::deconvolution>(kernels);
    add_floating<Direction::reconvolution>(kernels);
    return kernels;
}

}  // namespace

const color::Kernels& color_kernels() {
    static constexpr color::Kernels kKernels = make_kernels();
    return kKernels;
}

}  // namespace pyemo::PYEMO_ISA
