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

// Where the vectors of a tile are loaded from and stored to.
template <class T, int kChannels>
struct Planes {
    T* plane[kChannels];
    const T* packed;  // bytes of interleaved channels, which vectors can be loaded from; else null
};

// Pixels side by side in memory are used where they are. Others are brought into a buffer, one plane a channel, and
// back.
template <class T, int kChannels>
struct Tile {
    T buffer[kChannels][kTile];
    Planes<T, kChannels> planes;
    bool staged, interleaved;

    // A length that is no multiple of the vector's is staged as well, so that nothing beyond the run is touched.
    void place(Pixels pixels, int count) {
        interleaved = kChannels == 3 && pixels.channel == sizeof(T) && pixels.pixel == 3 * sizeof(T);
        staged = pixels.pixel != sizeof(T) || count % kLanes<Compute<T>> != 0;
        planes.packed = nullptr;
        for (int c = 0; c < kChannels; ++c) {
            planes.plane[c] = staged ? buffer[c] : reinterpret_cast<T*>(pixels.data + c * pixels.channel);
        }
    }

    void read(Pixels pixels, int count) {
        place(pixels, count);
        if (!staged) return;
        if (sizeof(T) == 1 && interleaved && count % kLanes<Compute<T>> == 0) {
            planes.packed = reinterpret_cast<const T*>(pixels.data);
            return;
        }
        copy<true>(pixels, count);
        for (int c = 0; c < kChannels; ++c) {
            for (int i = count; i % kLanes<Compute<T>> != 0; ++i) buffer[c][i] = T{};
        }
    }

    void write(Pixels pixels, int count) {
        if (staged) copy<false>(pixels, count);
    }

    // Between the buffer and memory.
    template <bool kIntoBuffer>
    void copy(Pixels pixels, int count) {
        const auto move = [](T& buffered, T& outside) { kIntoBuffer ? buffered = outside : outside = buffered; };
        if constexpr (kChannels == 3) {
            if (interleaved) {  // on its own, because the compiler makes shuffles of it
                T* __restrict outside = reinterpret_cast<T*>(pixels.data);
                T* __restrict first = buffer[0], * __restrict second = buffer[1], * __restrict third = buffer[2];
                for (int i = 0; i < count; ++i) {
                    move(first[i], outside[3 * i]);
                    move(second[i], outside[3 * i + 1]);
                    move(third[i], outside[3 * i + 2]);
                }
                return;
            }
        }
        for (int c = 0; c < kChannels; ++c) {
            char* channel = pixels.data + c * pixels.channel;
            for (int i = 0; i < count; ++i) move(buffer[c][i], *reinterpret_cast<T*>(channel + i * pixels.pixel));
        }
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

inline void load_bytes(const Planes<std::uint8_t, kColors>& in, int i, Bits (&bytes)[kColors]) {
    if (in.packed) {
        load_interleaved_bytes(in.packed + kColors * i, bytes);
    } else {
        for (int c = 0; c < kColors; ++c) bytes[c] = simd::load_bytes(in.plane[c] + i);
    }
}

// Logarithms of bytes, some of them plus a constant.
inline void fast_logs(const Map& map, const Bits (&bytes)[kColors], Vec<float> (&logs)[kColors]) {
    for (int c = 0; c < kColors; ++c) {
#if defined(__AVX512F__)
        // One channel's gather keeps the load ports as busy as the other two channels' arithmetic keeps the rest: the
        // mixture is faster than either alone.
        if (c > 0) {
            logs[c] =
                log2_of_byte_plus_constant(at_least(to_float(bytes[c]), static_cast<float>(255 * color::kDarkest)));
            continue;
        }
#endif
        logs[c] = gather(map.log2_byte, bytes[c]);
    }
}

template <Direction kDirection, class T, int kStains>
struct Kernel {
    static constexpr bool kDeconvolution = kDirection == Direction::deconvolution,
                          kBytes = std::is_same_v<T, std::uint8_t>;
    static constexpr int kIn = color::inputs(kDirection, kStains), kOut = color::outputs(kDirection, kStains);
    using C = Compute<T>;
    using V = Vec<C>;

    struct Matrix {
        V k[kIn][kOut];

        explicit Matrix(const Map& map) {
            for (int c = 0; c < kIn; ++c) {
                for (int o = 0; o < kOut; ++o) k[c][o] = broadcast(static_cast<C>(map.matrix[c * kOut + o]));
            }
        }

        V output(const V (&x)[kIn], int o) const {
            V sum = x[0] * k[0][o];
            for (int c = 1; c < kIn; ++c) sum += x[c] * k[c][o];
            return sum;
        }
    };

    // What the matrix is applied to.
    static void load_inputs(const Map& map, const Planes<T, kIn>& in, int i, V (&x)[kIn]) {
        if constexpr (kBytes) {
            Bits bytes[kColors];
            load_bytes(in, i, bytes);
            for (int c = 0; c < kIn; ++c) x[c] = gather(map.log2_byte, bytes[c]);
        } else {
            for (int c = 0; c < kIn; ++c) {
                x[c] = load(in.plane[c] + i);
                if constexpr (kDeconvolution) x[c] = log2<C>(at_least<C>(x[c], C(color::kDarkest)));
            }
        }
    }

    static void forward(const Map& map, std::int64_t count, Pixels input, Pixels output) {
        const Matrix matrix(map);
        const C low = map.clip ? 0 : -Ieee<C>::kInfinity, high = map.clip ? 1 : Ieee<C>::kInfinity;
        V white[kOut] = {};  // what the constants in the logarithms of bytes add up to, so that white gives exactly 0
        if constexpr (kBytes) {
            const Bits bytes[kColors] = {Bits{} + 255, Bits{} + 255, Bits{} + 255};
            V logs[kColors];
            fast_logs(map, bytes, logs);
            for (int o = 0; o < kOut; ++o) white[o] = matrix.output(logs, o);
        }
        Tile<T, kIn> input_tile;
        Tile<C, kOut> output_tile;
        for_tiles(count, kLanes<C>, [&](std::int64_t start, int length) {
            input_tile.read(at(input, start), length);
            output_tile.place(at(output, start), length);
            const auto in = input_tile.planes;  // copies, which stores cannot change
            const auto out = output_tile.planes;
            for (int i = 0; i < length; i += kLanes<C>) {
                V x[kIn];
                if constexpr (kBytes) {
                    Bits bytes[kColors];
                    load_bytes(in, i, bytes);
                    fast_logs(map, bytes, x);
                } else {
                    load_inputs(map, in, i, x);
                }
                for (int o = 0; o < kOut; ++o) {
                    V y = matrix.output(x, o);
                    if constexpr (kBytes) y -= white[o];
                    y = kDeconvolution ? at_least<C>(y, low) : at_most<C>(exp2<C>(y), high);
                    store(out.plane[o] + i, y);
                }
            }
            output_tile.write(at(output, start), length);
        });
    }

    static void backward(const Map& map, std::int64_t count, Pixels grad_output, Pixels input, Pixels grad_input,
                         double* grad_matrix) {
        const Matrix matrix(map);
        Tile<T, kIn> input_tile, grad_input_tile;
        Tile<C, kOut> grad_output_tile;
        for_tiles(count, kLanes<C>, [&](std::int64_t start, int length) {
            input_tile.read(at(input, start), length);
            grad_output_tile.read(at(grad_output, start), length);
            if (grad_input.data) grad_input_tile.place(at(grad_input, start), length);
            const auto in = input_tile.planes;
            const auto grad_out = grad_output_tile.planes;
            const auto grad_in = grad_input_tile.planes;
            V grad_k[kIn][kOut] = {};
            for (int i = 0; i < length; i += kLanes<C>) {
                V x[kIn], g[kOut];
                load_inputs(map, in, i, x);
                for (int o = 0; o < kOut; ++o) {
                    g[o] = load(grad_out.plane[o] + i);
                    // Where it was clipped, the output has no gradient. That of 2^z is itself times ln 2.
                    if constexpr (kDeconvolution) {
                        if (map.clip) g[o] = matrix.output(x, o) >= 0 ? g[o] : V{};
                    } else {
                        const V y = exp2<C>(matrix.output(x, o));
                        g[o] *= y * C(kLn2);
                        if (map.clip) g[o] = y <= 1 ? g[o] : V{};
                    }
                }
                if (grad_matrix) {
                    for (int c = 0; c < kIn; ++c) {
                        for (int o = 0; o < kOut; ++o) grad_k[c][o] += x[c] * g[o];
                    }
                }
                if constexpr (!kBytes) {
                    if (!grad_input.data) continue;
                    for (int c = 0; c < kIn; ++c) {
                        V sum = g[0] * matrix.k[c][0];
                        for (int o = 1; o < kOut; ++o) sum += g[o] * matrix.k[c][o];
                        if constexpr (kDeconvolution) {
                            const V color = load(in.plane[c] + i);
                            sum = color >= C(color::kDarkest) ? sum * C(1 / kLn2) / color : V{};
                        }
                        store(grad_in.plane[c] + i, sum);
                    }
                }
            }
            if (grad_input.data) grad_input_tile.write(at(grad_input, start), length);
            if (!grad_matrix) return;
            for (int c = 0; c < kIn; ++c) {
                for (int o = 0; o < kOut; ++o) grad_matrix[c * kOut + o] += sum<C>(grad_k[c][o]);
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
