#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/tensor_view.h"
#include "random.h"

namespace pyemo::sanitize {

using Sizes = std::vector<std::int64_t>;

// Where the elements of a tensor lie. Strides count elements.
struct Layout {
    Sizes strides;
    int lead = 0;  // elements in front of the first, so that it has no more than its type's alignment
};

Layout contiguous(const Sizes& sizes, int lead = 0);

// Dimensions in any order, some with gaps or backwards.
struct Freedom {
    bool order_last = true;  // else the last dimension's elements stand side by side
    bool repeats = false;    // a stride may be 0
};
Layout any_layout(Random& random, const Sizes& sizes, Freedom freedom);

// In memory of exactly the size that the layout needs. What lies there is all ones until it is written, which is a NaN
// of each of the floating types.
class Tensor {
  public:
    Tensor(DType dtype, Sizes sizes, const Layout& layout);

    const TensorView& view() const { return view_; }
    const TensorView* pointer() const { return &view_; }
    std::int64_t count() const;

    void poison();
    // In the order of the sizes. Values are rounded to the type.
    void fill(const std::function<double()>& value);
    std::vector<double> values() const;
    // Whether what lies between the elements is as poison() left it.
    bool gaps_are_untouched() const;
    // "bfloat16 (2, 14, 7, 96) strides (9408, 672, 96, 1)"
    std::string describe() const;

  private:
    template <class Visit>
    void for_each(const Visit& visit) const;

    std::int64_t bytes_;
    std::unique_ptr<char[]> memory_;
    TensorView view_;
};

}  // namespace pyemo::sanitize
