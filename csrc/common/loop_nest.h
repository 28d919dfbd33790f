#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pyemo {

// The elements that several strided arrays have in common, as few nested loops as their strides allow: dimensions of
// size one are dropped, the others ordered so that the first array's smallest stride is innermost, and neighbours
// merged where every array steps through them evenly.
template <int kArrays>
class LoopNest {
  public:
    using Offsets = std::array<std::ptrdiff_t, kArrays>;

    struct Dim {
        std::int64_t size;
        Offsets strides;  // bytes
    };

    explicit LoopNest(std::vector<Dim> dims);

    std::int64_t count() const { return count_; }
    const std::vector<Dim>& dims() const { return dims_; }  // never empty; innermost last

    // Calls row(offsets of the first element, strides between elements, length) for the elements [begin, end) in loop
    // order.
    template <class Row>
    void for_rows(std::int64_t begin, std::int64_t end, const Row& row) const {
        const Dim& inner = dims_.back();
        while (begin < end) {
            std::int64_t outer = begin / inner.size;
            const std::int64_t start = begin % inner.size;
            Offsets offsets;
            for (int a = 0; a < kArrays; ++a) offsets[a] = start * inner.strides[a];
            for (std::size_t d = dims_.size() - 1; d-- > 0; outer /= dims_[d].size) {
                const std::int64_t index = outer % dims_[d].size;
                for (int a = 0; a < kArrays; ++a) offsets[a] += index * dims_[d].strides[a];
            }
            const std::int64_t left = inner.size - start, wanted = end - begin;
            const std::int64_t length = left < wanted ? left : wanted;
            row(offsets, inner.strides, length);
            begin += length;
        }
    }

  private:
    std::vector<Dim> dims_;
    std::int64_t count_ = 1;
};

extern template class LoopNest<2>;
extern template class LoopNest<3>;

}  // namespace pyemo
