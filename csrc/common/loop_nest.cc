#include "common/loop_nest.h"

#include <algorithm>
#include <cstdlib>

namespace pyemo {

template <int kArrays>
LoopNest<kArrays>::LoopNest(std::vector<Dim> dims) {
    for (const Dim& dim : dims) count_ *= dim.size;
    dims.erase(std::remove_if(dims.begin(), dims.end(), [](const Dim& dim) { return dim.size == 1; }), dims.end());
    std::stable_sort(dims.begin(), dims.end(), [](const Dim& a, const Dim& b) {
        for (int i = 0; i < kArrays; ++i) {
            const std::ptrdiff_t left = std::abs(a.strides[i]), right = std::abs(b.strides[i]);
            if (left != right) return left > right;
        }
        return false;
    });
    for (const Dim& dim : dims) {
        bool merges = !dims_.empty();
        for (int i = 0; merges && i < kArrays; ++i) merges = dims_.back().strides[i] == dim.strides[i] * dim.size;
        if (merges) {
            dims_.back().size *= dim.size;
            dims_.back().strides = dim.strides;
        } else {
            dims_.push_back(dim);
        }
    }
    if (dims_.empty()) dims_.push_back({1, {}});
}

template class LoopNest<2>;
template class LoopNest<3>;

}  // namespace pyemo
