#include "layer_norm/kernels.h"

#include <cmath>

#include "common/simd.h"
#include "common/simd_sums.h"

namespace pyemo::PYEMO_ISA {

namespace {

using namespace simd;

template <class T>
struct LayerNormKernel {
    static constexpr int n = kLanes<float>;

    static float total(Vec<float> v) {
#if defined(__AVX512F__)
        return _mm512_reduce_add_ps(v);
#else
        float sum = 0;
        for (int i = 0; i < n; ++i) sum += v[i];
        return sum;
#endif
    }

    // Rows of values that need not be whole vectors: what is missing is read as zero, and not written.
    struct Row {
        int whole, rest;
        Vec<float> last{};  // one where the last vector has values, else zero

        explicit Row(int channels) : whole(channels / n * n), rest(channels - whole) {
            for (int i = 0; i < rest; ++i) last[i] = 1;
        }
        Vec<float> load_last(const T* row) const {
            T values[n] = {};
            std::memcpy(static_cast<void*>(values), row + whole, rest * sizeof(T));
            return load(values);
        }
        void store_last(T* row, Vec<float> v) const {
            T values[n];
            store(values, v);
            std::memcpy(static_cast<void*>(row + whole), values, rest * sizeof(T));
        }
    };

    static void forward(const pyemo::layer_norm::Forward& p, float* scratch) {
        const Row row(p.channels);
        const float share = 1.f / static_cast<float>(p.channels);
        const T* x = reinterpret_cast<const T*>(p.x);
        T* y = reinterpret_cast<T*>(p.y);
        for (std::int64_t r = 0; r < p.rows; ++r, x += p.x_row, y += p.y_row) {
            // Twice through the values, less the first of them: of differences of large sums, little would be left.
            const float first = scalar(x[0]);
            Vec<float> sum{}, squares{};
            for (int i = 0; i < row.whole; i += n) {
                const Vec<float> v = load(x + i) - first;
                store(scratch + i, v);
                sum += v;
            }
            if (row.rest) {
                const Vec<float> v = (row.load_last(x) - first) * row.last;
                store(scratch + row.whole, v);
                sum += v;
            }
            const float mean = total(sum) * share;
            for (int i = 0; i < row.whole; i += n) {
                const Vec<float> v = load(scratch + i) - mean;
                store(scratch + i, v);
                squares += v * v;
            }
            if (row.rest) {
                const Vec<float> v = (load(scratch + row.whole) - mean) * row.last;
                store(scratch + row.whole, v);
                squares += v * v;
            }
            const float scale = 1 / std::sqrt(total(squares) * share + p.eps);
            if (p.mean) p.mean[r] = first + mean, p.scale[r] = scale;
            for (int i = 0; i < row.whole; i += n) store(y + i, normal(p, scratch, i, scale));
            if (row.rest) row.store_last(y, normal(p, scratch, row.whole, scale));
        }
    }
    static Vec<float> normal(const pyemo::layer_norm::Forward& p, const float* centred, int i, float scale) {
        Vec<float> v = load(centred + i) * scale;
        if (p.weight) v *= load(p.weight + i);
        return p.bias ? v + load(p.bias + i) : v;
    }

    // Of y = w (x - mean) s + b, with x' = (x - mean) s and g = w dy: dx = s (g - mean of g - x' mean of (g x')).
    static void backward(const pyemo::layer_norm::Backward& p, float* scratch) {
        const Row row(p.channels);
        const float share = 1.f / static_cast<float>(p.channels);
        float *gradients = scratch, *normals = scratch + row.whole + n;
        const T *x = reinterpret_cast<const T*>(p.x), *dy = reinterpret_cast<const T*>(p.dy);
        T* dx = reinterpret_cast<T*>(p.dx);
        for (std::int64_t r = 0; r < p.rows; ++r, x += p.x_row, dy += p.dy_row) {
            const float mean = p.mean[r], scale = p.scale[r];
            Vec<float> sum{}, products{};
            const auto read = [&](int i, Vec<float> d, Vec<float> normal) {
                if (p.weight_sums) store(p.weight_sums + i, load(p.weight_sums + i) + d * normal);
                if (p.bias_sums) store(p.bias_sums + i, load(p.bias_sums + i) + d);
                const Vec<float> g = p.weight ? d * load(p.weight + i) : d;
                store(gradients + i, g);
                store(normals + i, normal);
                sum += g;
                products += g * normal;
            };
            for (int i = 0; i < row.whole; i += n) read(i, load(dy + i), (load(x + i) - mean) * scale);
            if (row.rest) {
                read(row.whole, row.load_last(dy), (row.load_last(x) - mean) * row.last * scale);
            }
            if (!dx) continue;
            const float mean_gradient = total(sum) * share, mean_product = total(products) * share;
            const auto gradient = [&](int i) {
                return (load(gradients + i) - mean_gradient - load(normals + i) * mean_product) * scale;
            };
            for (int i = 0; i < row.whole; i += n) store(dx + i, gradient(i));
            if (row.rest) row.store_last(dx, gradient(row.whole));
            dx += p.dx_row;
        }
    }
};

template <class T>
constexpr void set(pyemo::layer_norm::Kernels& kernels, DType dtype) {
    const int at = static_cast<int>(dtype);
    kernels.forward[at] = LayerNormKernel<T>::forward;
    kernels.backward[at] = LayerNormKernel<T>::backward;
    kernels.widen[at] = widen_all<T>;
    kernels.add[at] = add<T, float>;
}

constexpr pyemo::layer_norm::Kernels make_kernels() {
    pyemo::layer_norm::Kernels kernels{};
    set<float>(kernels, DType::float32);
    set<bfloat16>(kernels, DType::bfloat16);
    return kernels;
}

}  // namespace

const pyemo::layer_norm::Kernels& layer_norm_kernels() {
    static constexpr pyemo::layer_norm::Kernels kKernels = make_kernels();
    return kKernels;
}

}  // namespace pyemo::PYEMO_ISA
