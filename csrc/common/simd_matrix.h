// Products, transpositions and row sums of small matrices that lie in the first caches. For kernel sources only, like
// simd.h.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "common/simd.h"

namespace pyemo::PYEMO_ISA::simd {

constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

// Vectors of a row, and rows, that a product keeps in registers: as many as fit beside a row of b and a factor of a.
constexpr int kMostVectors = 4;
constexpr int most_rows(int vectors) {
    const int rows = (kRegisters - vectors - 1) / vectors;
    return rows > 14 ? 14 : rows;
}

// Cache lines that are needed later, fetched one at each step of a product: asked for all at once, more would be on
// their way than the first cache can wait for, and the rest would hold up what comes next or be dropped.
class Ahead {
  public:
    // Room for so many lines, and for what stands behind them where a product has more steps than there are lines.
    static std::size_t room(int lines, int most_steps) { return static_cast<std::size_t>(lines) + most_steps; }
    Ahead(const char** memory, int most_steps) : first_(memory), next_(memory), end_(memory), most_steps_(most_steps) {}

    void begin() { next_ = end_ = first_; }
    // `bytes` of each of the rows that begin at `from` + offset.
    void add(const char* from, const std::ptrdiff_t* offsets, int rows, std::ptrdiff_t bytes) {
        for (std::ptrdiff_t line = 0; line < bytes; line += 64) {
            for (int i = 0; i < rows; ++i) *end_++ = from + offsets[i] + line;
        }
    }
    void end() {
        for (int i = 0; i < most_steps_; ++i) end_[i] = reinterpret_cast<const char*>(first_);
    }

    // The lines of the next `steps`.
    const char* const* take(int steps) {
        const char* const* taken = next_;
        next_ += steps < end_ - next_ ? steps : end_ - next_;
        return taken;
    }
    static void fetch(const char* line) { __builtin_prefetch(line, 0, 2); }  // into the second cache

  private:
    const char **first_, **next_, **end_;
    int most_steps_;
};

// What a product's elements are summed in.
template <class T>
struct SumOf {
    using type = T;
};

template <class T>
inline void multiply_add(Vec<T>& sum, T factor, Vec<T> row) {
    sum += broadcast(factor) * row;
}

#if defined(__AVX512BF16__)
// Two values of bfloat16, the first in the lower half: what is multiplied is both, and summed.
using Pair = std::uint32_t;

template <>
struct SumOf<Pair> {
    using type = float;
};

inline void multiply_add(Vec<float>& sum, Vec<Pair> a, Vec<Pair> b) {
    sum = _mm512_dpbf16_ps(sum, bitcast<__m512bh>(a), bitcast<__m512bh>(b));
}
inline void multiply_add(Vec<float>& sum, Pair factor, Vec<Pair> row) {
    const __m512i factors = _mm512_set1_epi32(static_cast<int>(factor));
    multiply_add(sum, bitcast<Vec<Pair>>(factors), row);
}
#endif

// What values in memory are multiplied as: bfloat16 as pairs, where there is an instruction for that.
template <class T>
struct FactorOf {
    using type = T;
};
#if defined(__AVX512BF16__)
template <>
struct FactorOf<bfloat16> {
    using type = Pair;
};
#endif
template <class T>
using Factor = typename FactorOf<T>::type;

// What becomes of a product: it is stored. Another such function, of the same parameters, may use it while it is in
// registers.
template <class T>
struct Store {
    T* c;
    std::ptrdiff_t c_row;

    template <int kRows, int kVectors>
    PYEMO_INLINE void operator()(int row, std::ptrdiff_t column, const Vec<T> (&sum)[kRows][kVectors]) const {
        T* to = c + row * c_row + column;
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r, to += c_row) {
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) store(to + v * kLanes<T>, sum[r][v]);
        }
    }
};

// done(row, column, the product of a (rows x depth) and b (depth x vectors)); a row of b begins `column` elements after
// b[k].
template <class T, class Done, int kRows, int kVectors>
void multiply_block(const T* a, std::ptrdiff_t a_row, std::ptrdiff_t a_column, const T* const* b, std::ptrdiff_t column,
                    int depth, const char* const* ahead, int row, const Done& done) {
    Vec<typename SumOf<T>::type> sum[kRows][kVectors] = {};
    for (int k = 0; k < depth; ++k, a += a_column) {
        const T* from = b[k] + column;
        Ahead::fetch(ahead[k]);
        Vec<T> vectors[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) vectors[v] = load_bits<Vec<T>>(from + v * kLanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const T factor = a[r * a_row];
#pragma GCC unroll 16
            for (int v = 0; v < kVectors; ++v) multiply_add(sum[r][v], factor, vectors[v]);
        }
    }
    done.template operator()<kRows, kVectors>(row, column, sum);
}

template <class T, class Done>
using MultiplyBlock = void (*)(const T*, std::ptrdiff_t, std::ptrdiff_t, const T* const*, std::ptrdiff_t, int,
                               const char* const*, int, const Done&);

template <class T, class Done, int kVectors, int... rows>
MultiplyBlock<T, Done> block_of(int wanted, std::integer_sequence<int, rows...>) {
    static constexpr MultiplyBlock<T, Done> kBlocks[] = {multiply_block<T, Done, rows + 1, kVectors>...};
    return kBlocks[wanted - 1];
}

template <class T, class Done, int kVectors>
void multiply_columns(int rows, int depth, const T* a, std::ptrdiff_t a_row, std::ptrdiff_t a_column, const T* const* b,
                      std::ptrdiff_t column, Ahead& ahead, const Done& done) {
    constexpr int kMost = most_rows(kVectors);
    // Blocks of about one height: a low one at the end would wait for its own sums.
    int blocks = (rows + kMost - 1) / kMost;
    for (int row = 0; row < rows; --blocks) {
        const int height = (rows - row + blocks - 1) / blocks;
        block_of<T, Done, kVectors>(height, std::make_integer_sequence<int, kMost>())(
            a, a_row, a_column, b, column, depth, ahead.take(depth), row, done);
        a += height * a_row, row += height;
    }
}

// The product of a (rows x depth) and b (depth x vectors), for `done`. Element (i, k) of a is
// a[i * a_row + k * a_column]; row k of b is where b[k] points.
template <class T, class Done>
void multiply(int rows, int depth, int vectors, const T* a, std::ptrdiff_t a_row, std::ptrdiff_t a_column,
              const T* const* b, Ahead& ahead, const Done& done) {
    std::ptrdiff_t column = 0;
    for (int parts = (vectors + kMostVectors - 1) / kMostVectors; vectors > 0; --parts) {
        const int width = (vectors + parts - 1) / parts;
        const auto columns = width == 4   ? multiply_columns<T, Done, 4>
                             : width == 3 ? multiply_columns<T, Done, 3>
                             : width == 2 ? multiply_columns<T, Done, 2>
                                          : multiply_columns<T, Done, 1>;
        columns(rows, depth, a, a_row, a_column, b, column, ahead, done);
        column += width * kLanes<T>, vectors -= width;
    }
}

template <class T, class Done, int kVectors>
void hand_over_columns(int rows, const T* c, std::ptrdiff_t c_row, std::ptrdiff_t column, const Done& done) {
    for (int row = 0; row < rows; ++row, c += c_row) {
        Vec<T> product[1][kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) product[0][v] = load(c + column + v * kLanes<T>);
        done.template operator()<1, kVectors>(row, column, product);
    }
}

// A product (rows x vectors) that was stored, for `done` as multiply has it.
template <class T, class Done>
void hand_over(int rows, int vectors, const T* c, std::ptrdiff_t c_row, const Done& done) {
    for (std::ptrdiff_t column = 0; vectors > 0; vectors -= kMostVectors, column += kMostVectors * kLanes<T>) {
        const auto columns = vectors >= 4   ? hand_over_columns<T, Done, 4>
                             : vectors == 3 ? hand_over_columns<T, Done, 3>
                             : vectors == 2 ? hand_over_columns<T, Done, 2>
                                            : hand_over_columns<T, Done, 1>;
        columns(rows, c, c_row, column, done);
    }
}

template <int... lanes, class V>
inline V shuffle(V a, V b, std::integer_sequence<int, lanes...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, lanes...);
#else
    using Index = std::conditional_t<sizeof(a[0]) == 8, std::int64_t, std::int32_t>;
    return __builtin_shuffle(a, b, Vec<Index, sizeof...(lanes)>{lanes...});
#endif
}

// The lanes of two vectors in turns of `step`: with kUpper those that have the bit `step` set, else the others.
template <int step, bool kUpper, int... i>
constexpr auto turns(std::integer_sequence<int, i...>) {
    constexpr int n = sizeof...(i);
    return std::integer_sequence<int, ((i & step) ? n + i - (kUpper ? 0 : step) : i + (kUpper ? step : 0))...>();
}

template <int step, class T, int n>
inline void exchange(Vec<T> (&rows)[n]) {
    if constexpr (step < n) {
#pragma GCC unroll 16
        for (int i = 0; i < n; ++i) {
            if (i & step) continue;
            const Vec<T> a = rows[i], b = rows[i + step];
            rows[i] = shuffle(a, b, turns<step, false>(std::make_integer_sequence<int, n>()));
            rows[i + step] = shuffle(a, b, turns<step, true>(std::make_integer_sequence<int, n>()));
        }
        exchange<2 * step, T, n>(rows);
    }
}

// `to` (columns x rows) = the transpose of (rows x columns), whose row i begins where row(i) points. The columns are a
// multiple of the lanes; the rows of `to` are as well, and end with zeros.
template <class T, class Row>
inline void transpose(int rows, int columns, const Row& row, T* to, std::ptrdiff_t to_row) {
    constexpr int n = kLanes<T>;
    for (int i = 0; i < rows; i += n) {
        for (int j = 0; j < columns; j += n) {
            Vec<T> block[n];
#pragma GCC unroll 16
            for (int k = 0; k < n; ++k) block[k] = i + k < rows ? load_bits<Vec<T>>(row(i + k) + j) : Vec<T>{};
            exchange<1, T, n>(block);
#pragma GCC unroll 16
            for (int k = 0; k < n; ++k) store_bits(to + (j + k) * to_row + i, block[k]);
        }
    }
}

// One vector of what each of a vector's worth of vectors reduces to.
template <class T, class Join, int step = kLanes<T> / 2>
inline Vec<T> reduce_each(Vec<T> (&rows)[kLanes<T>], const Join& join) {
    constexpr int n = kLanes<T>;
    if constexpr (step > 0) {
        // Half as many vectors each time: the lower and upper halves of two are joined into one.
        auto lanes = std::make_integer_sequence<int, n>();
#pragma GCC unroll 16
        for (int i = 0; i < step; ++i) {
            const Vec<T> a = rows[i], b = rows[i + step];
            rows[i] = join(shuffle(a, b, turns<step, false>(lanes)), shuffle(a, b, turns<step, true>(lanes)));
        }
        return reduce_each<T, Join, step / 2>(rows, join);
    } else {
        return rows[0];
    }
}

}  // namespace pyemo::PYEMO_ISA::simd
