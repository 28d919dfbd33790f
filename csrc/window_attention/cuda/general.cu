// Window attention for windows and heads of any size, in float or double: a warp is a row, its lanes are columns or
// channels. Right everywhere; for what the tensor-core kernels do not take.
#include <algorithm>
#include <type_traits>

#include "window_attention/cuda/tiles.cuh"

namespace pyemo::window::cuda {

namespace {

template <class C>
__device__ __forceinline__ C exp2_of(C x) {
    if constexpr (std::is_same_v<C, double>) {
        return exp2(x);
    } else {
        return exp2_fast(x);
    }
}

// One head of one window.
template <class T>
struct Unit {
    using C = std::conditional_t<std::is_same_v<T, double>, double, float>;

    const Work& work;
    const Problem& problem;
    const Window window;
    const int head;
    C scale;  // of the products of queries and keys, or of unit vectors

    __device__ Unit(const Work& work, unsigned index, int head)
        : work(work), problem(work.problem), window(problem, index), head(head) {
        scale = problem.logit_scale ? static_cast<const C*>(problem.logit_scale)[head] : static_cast<C>(problem.scale);
    }

    enum Part { queries, keys, values };

    __device__ const T* row(Part part, int token) const {
        const std::ptrdiff_t channel = (static_cast<std::ptrdiff_t>(part) * problem.heads + head) * problem.head_dim;
        return reinterpret_cast<const T*>(problem.qkv.data + window.place(problem, problem.qkv, token)) + channel;
    }
    __device__ T* output(int token) const {
        return reinterpret_cast<T*>(problem.output.data + window.place(problem, problem.output, token)) +
               static_cast<std::ptrdiff_t>(head) * problem.head_dim;
    }
    __device__ T* grad(Part part, int token) const {
        const std::ptrdiff_t channel = (static_cast<std::ptrdiff_t>(part) * problem.heads + head) * problem.head_dim;
        return reinterpret_cast<T*>(problem.grad_qkv.data + window.place(problem, problem.grad_qkv, token)) + channel;
    }

    __device__ C dot(const T* a, const T* b) const {
        C sum = 0;
        for (int k = 0; k < problem.head_dim; ++k) sum += static_cast<C>(widen(a[k])) * static_cast<C>(widen(b[k]));
        return sum;
    }
    __device__ C inverse_length(const T* a) const {
        const C length = sqrt(dot(a, a));
        return problem.logit_scale ? 1 / (length > static_cast<C>(kShortest) ? length : static_cast<C>(kShortest)) : 1;
    }

    // The cosine, or the product, of a query and a key.
    __device__ C product(const T* query, C of_query, const T* key) const {
        return dot(query, key) * of_query * inverse_length(key);
    }
    // In units of log2(e).
    __device__ C logit(int i, int j, C product) const {
        C x = product * scale;
        const std::int64_t tokens = problem.tokens;
        if (problem.bias) x += static_cast<const C*>(problem.bias)[(head * tokens + i) * tokens + j];
        if ((side(problem, i) ^ side(problem, j)) & window.mixed(problem)) x += static_cast<C>(kShiftPenalty);
        if (problem.mask) x += static_cast<const C*>(problem.mask)[(window.in_image * tokens + i) * tokens + j];
        return x * static_cast<C>(kLog2E);
    }

    __device__ std::int64_t statistic(unsigned index, int token) const {
        return (static_cast<std::int64_t>(index) * problem.heads + head) * problem.tokens + token;
    }
};

template <class C>
struct Statistics {
    C shift, inverse, mean;  // the largest logit, 1 / sum of powers, mean gradient of the probabilities

    __device__ C probability(C logit) const { return exp2_of<C>(logit - shift) * inverse; }
};

// What the warp's row needs of all columns. `grad` (the output's, of the row) may be null.
template <class T>
__device__ Statistics<typename Unit<T>::C> survey(const Unit<T>& unit, int i, const T* query,
                                                  typename Unit<T>::C of_query, const T* grad, int lane) {
    using C = typename Unit<T>::C;
    const C lowest = -static_cast<C>(infinity());
    C top = lowest, sum = 0, mean = 0;
    for (int j = lane; j < unit.problem.tokens; j += kWarp) {
        const C x = unit.logit(i, j, unit.product(query, of_query, unit.row(Unit<T>::keys, j)));
        if (x > top) {
            const C factor = top == lowest ? C(0) : exp2_of<C>(top - x);
            sum *= factor, mean *= factor;
            top = x;
        }
        const C power = exp2_of<C>(x - (top == lowest ? C(0) : top));
        sum += power;
        if (grad) mean += power * unit.dot(grad, unit.row(Unit<T>::values, j));
    }
    const C own = top;
    top = largest_of_lanes<kWarp>(top);
    const C shift = top == lowest ? C(0) : top, factor = own == lowest ? C(sum == 0 ? 0 : 1) : exp2_of<C>(own - shift);
    sum = sum_of_lanes<kWarp>(sum * factor);
    mean = sum_of_lanes<kWarp>(mean * factor);
    return {shift, 1 / sum, mean / sum};
}

template <class T>
__global__ void __launch_bounds__(kGeneralWarps* kWarp) forward(const __grid_constant__ Work work) {
    using C = typename Unit<T>::C;
    const Problem& problem = work.problem;
    const int lane = threadIdx.x % kWarp;
    const std::int64_t rows = work.windows * problem.heads * problem.tokens;
    for (std::int64_t r = static_cast<std::int64_t>(blockIdx.x) * kGeneralWarps + threadIdx.x / kWarp; r < rows;
         r += static_cast<std::int64_t>(gridDim.x) * kGeneralWarps) {
        const int i = static_cast<int>(r % problem.tokens), head = static_cast<int>(r / problem.tokens % problem.heads);
        const Unit<T> unit(work, static_cast<unsigned>(r / problem.tokens / problem.heads), head);
        const T* query = unit.row(Unit<T>::queries, i);
        const C of_query = unit.inverse_length(query);
        const Statistics<C> statistics = survey<T>(unit, i, query, of_query, nullptr, lane);
        for (int channel = 0; channel < problem.head_dim; channel += kWarp) {
            C sum = 0;
            for (int column = 0; column < problem.tokens; column += kWarp) {
                const int own = column + lane;
                C p = 0;
                if (own < problem.tokens) {
                    p = statistics.probability(
                        unit.logit(i, own, unit.product(query, of_query, unit.row(Unit<T>::keys, own))));
                }
                for (int j = column; j < column + kWarp && j < problem.tokens; ++j) {
                    const C weight = __shfl_sync(kAllLanes, p, j - column);
                    if (channel + lane < problem.head_dim) {
                        sum += weight * static_cast<C>(widen(unit.row(Unit<T>::values, j)[channel + lane]));
                    }
                }
            }
            if (channel + lane < problem.head_dim) unit.output(i)[channel + lane] = narrow<T>(sum);
        }
    }
}

// Gradients of queries, and of bias and logit_scale: a warp is a row of all windows of a part, one after the other.
template <class T>
__global__ void __launch_bounds__(kGeneralWarps* kWarp) backward_rows(const __grid_constant__ Work work) {
    using C = typename Unit<T>::C;
    const Problem& problem = work.problem;
    const int lane = threadIdx.x % kWarp;
    const std::int64_t r = static_cast<std::int64_t>(blockIdx.x) * kGeneralWarps + threadIdx.x / kWarp;
    const std::int64_t rows = static_cast<std::int64_t>(work.parts) * problem.heads * problem.tokens;
    if (r >= rows) return;
    const int i = static_cast<int>(r % problem.tokens), head = static_cast<int>(r / problem.tokens % problem.heads);
    const int part = static_cast<int>(r / problem.tokens / problem.heads);
    C* const all = static_cast<C*>(work.statistics);
    const std::int64_t count = work.windows * problem.heads * problem.tokens;
    C* const bias_sums = work.bias_sums ? static_cast<C*>(work.bias_sums) + r * problem.tokens : nullptr;
    C grad_scale = 0;
    const Range range(work, part);
    for (unsigned index = range.begin; index < range.end; ++index) {
        const Unit<T> unit(work, index, head);
        const T *query = unit.row(Unit<T>::queries, i), *grad = unit.output(i);
        const C of_query = unit.inverse_length(query);
        const Statistics<C> statistics = survey<T>(unit, i, query, of_query, grad, lane);
        if (lane == 0) {
            C* const own = all + unit.statistic(index, i);
            own[0] = statistics.shift, own[count] = statistics.inverse, own[2 * count] = statistics.mean;
        }
        C along = 0;  // the query, as a unit vector, times its gradient as one
        for (int pass = problem.logit_scale ? 0 : 1; pass < 2; ++pass) {
            // The first pass has the sums alone, which cosine attention needs before anything is written.
            const int channels = pass == 0 ? kWarp : problem.head_dim;
            for (int channel = 0; channel < channels; channel += kWarp) {
                C sum = 0;
                for (int column = 0; column < problem.tokens; column += kWarp) {
                    const int own = column + lane;
                    C g = 0;
                    if (own < problem.tokens) {
                        const T* key = unit.row(Unit<T>::keys, own);
                        const C product = unit.product(query, of_query, key);
                        const C p = statistics.probability(unit.logit(i, own, product));
                        g = p * (unit.dot(grad, unit.row(Unit<T>::values, own)) - statistics.mean);
                        if (pass == 0) {
                            along += g * product;
                        } else if (channel == 0 && bias_sums) {
                            bias_sums[own] = index == range.begin ? g : bias_sums[own] + g;
                        }
                        g *= unit.inverse_length(key);
                    }
                    if (pass == 0) continue;
                    for (int j = column; j < column + kWarp && j < problem.tokens; ++j) {
                        const C weight = __shfl_sync(kAllLanes, g, j - column);
                        if (channel + lane < problem.head_dim) {
                            sum += weight * static_cast<C>(widen(unit.row(Unit<T>::keys, j)[channel + lane]));
                        }
                    }
                }
                if (pass == 1 && channel + lane < problem.head_dim) {
                    const C x = static_cast<C>(widen(query[channel + lane]));
                    const bool projected = problem.logit_scale && of_query < static_cast<C>(1 / kShortest);
                    const C unit_grad = projected ? sum - along * of_query * x : sum;
                    unit.grad(Unit<T>::queries, i)[channel + lane] = narrow<T>(unit_grad * of_query * unit.scale);
                }
            }
            if (pass == 0) {
                along = sum_of_lanes<kWarp>(along);
                grad_scale += along;
            }
        }
    }
    if (lane == 0 && work.scale_sums) {
        static_cast<C*>(
            work.scale_sums)[(static_cast<std::int64_t>(part) * problem.tokens + i) * problem.heads + head] =
            grad_scale;
    }
}

// Gradients of keys and values: a warp is a key.
template <class T>
__global__ void __launch_bounds__(kGeneralWarps* kWarp) backward_columns(const __grid_constant__ Work work) {
    using C = typename Unit<T>::C;
    const Problem& problem = work.problem;
    const int lane = threadIdx.x % kWarp;
    const std::int64_t count = work.windows * problem.heads * problem.tokens;
    const C* const all = static_cast<const C*>(work.statistics);
    for (std::int64_t r = static_cast<std::int64_t>(blockIdx.x) * kGeneralWarps + threadIdx.x / kWarp; r < count;
         r += static_cast<std::int64_t>(gridDim.x) * kGeneralWarps) {
        const int j = static_cast<int>(r % problem.tokens), head = static_cast<int>(r / problem.tokens % problem.heads);
        const unsigned index = static_cast<unsigned>(r / problem.tokens / problem.heads);
        const Unit<T> unit(work, index, head);
        const T *key = unit.row(Unit<T>::keys, j), *value = unit.row(Unit<T>::values, j);
        const C of_key = unit.inverse_length(key);
        C along = 0;
        for (int pass = problem.logit_scale ? 0 : 1; pass < 2; ++pass) {
            const int channels = pass == 0 ? kWarp : problem.head_dim;
            for (int channel = 0; channel < channels; channel += kWarp) {
                C key_sum = 0, value_sum = 0;
                for (int row = 0; row < problem.tokens; row += kWarp) {
                    const int own = row + lane;
                    C p = 0, g = 0;
                    if (own < problem.tokens) {
                        const T* query = unit.row(Unit<T>::queries, own);
                        const C of_query = unit.inverse_length(query);
                        const C* of_row = all + unit.statistic(index, own);
                        const C product = unit.dot(query, key) * of_query * of_key;
                        p = Statistics<C>{of_row[0], of_row[count], 0}.probability(unit.logit(own, j, product));
                        g = p * (unit.dot(unit.output(own), value) - of_row[2 * count]);
                        if (pass == 0) along += g * product;
                        g *= of_query;
                    }
                    if (pass == 0) continue;
                    for (int i = row; i < row + kWarp && i < problem.tokens; ++i) {
                        const C p_i = __shfl_sync(kAllLanes, p, i - row), g_i = __shfl_sync(kAllLanes, g, i - row);
                        if (channel + lane < problem.head_dim) {
                            value_sum += p_i * static_cast<C>(widen(unit.output(i)[channel + lane]));
                            key_sum += g_i * static_cast<C>(widen(unit.row(Unit<T>::queries, i)[channel + lane]));
                        }
                    }
                }
                if (pass == 1 && channel + lane < problem.head_dim) {
                    const C x = static_cast<C>(widen(key[channel + lane]));
                    const bool projected = problem.logit_scale && of_key < static_cast<C>(1 / kShortest);
                    const C unit_grad = projected ? key_sum - along * of_key * x : key_sum;
                    unit.grad(Unit<T>::keys, j)[channel + lane] = narrow<T>(unit_grad * of_key * unit.scale);
                    unit.grad(Unit<T>::values, j)[channel + lane] = narrow<T>(value_sum);
                }
            }
            if (pass == 0) along = sum_of_lanes<kWarp>(along);
        }
    }
}

unsigned blocks_for(std::int64_t rows) {
    return static_cast<unsigned>(std::min<std::int64_t>((rows + kGeneralWarps - 1) / kGeneralWarps, 1 << 20));
}

template <class T>
void forward_of(const Queue& queue, const Work& work) {
    const std::int64_t rows = work.windows * work.problem.heads * work.problem.tokens;
    launch(queue, forward<T>, dim3(blocks_for(rows)), kGeneralWarps * kWarp, 0, work);
}

template <class T>
void backward_of(const Queue& queue, const Work& work) {
    const std::int64_t heads = work.problem.heads, tokens = work.problem.tokens;
    const std::int64_t blocks = (work.parts * heads * tokens + kGeneralWarps - 1) / kGeneralWarps;
    launch(queue, backward_rows<T>, dim3(grid_size(blocks)), kGeneralWarps * kWarp, 0, work);
    launch(queue, backward_columns<T>, dim3(blocks_for(work.windows * heads * tokens)), kGeneralWarps * kWarp, 0, work);
}

}  // namespace

void launch_general_forward(const Queue& queue, DType dtype, const Work& work) {
    switch (dtype) {
        case DType::float16:
            return forward_of<half>(queue, work);
        case DType::bfloat16:
            return forward_of<bfloat16>(queue, work);
        case DType::float64:
            return forward_of<double>(queue, work);
        default:
            return forward_of<float>(queue, work);
    }
}

void launch_general_backward(const Queue& queue, DType dtype, const Work& work) {
    switch (dtype) {
        case DType::float16:
            return backward_of<half>(queue, work);
        case DType::bfloat16:
            return backward_of<bfloat16>(queue, work);
        case DType::float64:
            return backward_of<double>(queue, work);
        default:
            return backward_of<float>(queue, work);
    }
}

}  // namespace pyemo::window::cuda
