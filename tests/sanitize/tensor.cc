#include "tensor.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>

namespace pyemo::sanitize {

namespace {

constexpr unsigned char kPoison = 0xff;

// A floating type of 16 bits.
struct Half {
    int fraction_bits, bias;

    std::uint16_t encode(double value) const {
        if (value == 0) return std::signbit(value) ? 0x8000 : 0;  // which has no exponent
        int exponent;
        std::frexp(value, &exponent);
        exponent = std::max(exponent - 1, 1 - bias);
        // The leading one of a normal number adds one to the exponent's field, as a carry out of the fraction does.
        const auto fraction = static_cast<int>(std::nearbyint(std::ldexp(std::fabs(value), fraction_bits - exponent)));
        const int bits = ((exponent + bias - 1) << fraction_bits) + fraction;
        return static_cast<std::uint16_t>(bits | (std::signbit(value) ? 0x8000 : 0));
    }
    double decode(std::uint16_t bits) const {
        const int exponent = (bits & 0x7fff) >> fraction_bits, fraction = bits & ((1 << fraction_bits) - 1);
        const double sign = bits & 0x8000 ? -1 : 1;
        if (exponent == 0x7fff >> fraction_bits) return fraction ? NAN : sign * INFINITY;
        const int leading = exponent ? 1 << fraction_bits : 0;
        return sign * std::ldexp(leading + fraction, std::max(exponent, 1) - bias - fraction_bits);
    }
};

constexpr Half kFloat16{10, 15}, kBfloat16{7, 127};

template <class T>
T read(const char* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
template <class T>
void write(T value, char* to) {
    std::memcpy(to, &value, sizeof value);
}

double decode(DType dtype, const char* from) {
    switch (dtype) {
        case DType::uint8:
            return read<std::uint8_t>(from);
        case DType::int16:
            return read<std::int16_t>(from);
        case DType::float16:
            return kFloat16.decode(read<std::uint16_t>(from));
        case DType::bfloat16:
            return kBfloat16.decode(read<std::uint16_t>(from));
        case DType::float32:
            return read<float>(from);
        case DType::float64:
            return read<double>(from);
    }
    std::abort();
}

void encode(DType dtype, double value, char* to) {
    switch (dtype) {
        case DType::uint8:
            return write(static_cast<std::uint8_t>(std::lround(value)), to);
        case DType::int16:
            return write(static_cast<std::int16_t>(std::lround(value)), to);
        case DType::float16:
            return write(kFloat16.encode(value), to);
        case DType::bfloat16:
            return write(kBfloat16.encode(value), to);
        case DType::float32:
            return write(static_cast<float>(value), to);
        case DType::float64:
            return write(value, to);
    }
}

}  // namespace

Layout contiguous(const Sizes& sizes, int lead) {
    Layout layout{Sizes(sizes.size()), lead};
    std::int64_t stride = 1;
    for (std::size_t d = sizes.size(); d-- > 0; stride *= sizes[d]) layout.strides[d] = stride;
    return layout;
}

Layout any_layout(Random& random, const Sizes& sizes, Freedom freedom) {
    const int dims = static_cast<int>(sizes.size()), free_dims = freedom.order_last ? dims : dims - 1;
    std::vector<int> order(dims);
    std::iota(order.begin(), order.end(), 0);
    for (int d = free_dims - 1; d > 0 && random.one_in(2); --d) std::swap(order[d], order[random.between(0, d)]);
    Layout layout{Sizes(dims), random.between(0, 3)};
    std::int64_t stride = 1;
    for (int i = dims; i-- > 0;) {
        const int d = order[i];
        const bool fixed = d >= free_dims;
        if (!fixed && random.one_in(6)) stride += random.between(1, 5);
        const bool repeated = !fixed && freedom.repeats && random.one_in(12);
        layout.strides[d] = repeated ? 0 : !fixed && random.one_in(8) ? -stride : stride;
        if (!repeated) stride *= std::max<std::int64_t>(sizes[d], 1);
    }
    return layout;
}

Tensor::Tensor(DType dtype, Sizes sizes, const Layout& layout) {
    view_.dtype = dtype;
    view_.ndim = static_cast<int>(sizes.size());
    std::int64_t first = layout.lead, last = layout.lead;  // elements from the memory's begin
    for (int d = 0; d < view_.ndim; ++d) {
        view_.sizes[d] = sizes[d], view_.strides[d] = layout.strides[d];
        const std::int64_t reach = (sizes[d] - 1) * layout.strides[d];
        last += std::abs(reach);
        if (reach < 0) first -= reach;
    }
    bytes_ = (last + 1) * item_size(dtype);
    memory_.reset(new char[bytes_]);
    view_.data = memory_.get() + first * item_size(dtype);
    poison();
}

std::int64_t Tensor::count() const {
    return std::accumulate(view_.sizes, view_.sizes + view_.ndim, std::int64_t{1}, std::multiplies<>());
}

void Tensor::poison() { std::memset(memory_.get(), kPoison, bytes_); }

template <class Visit>
void Tensor::for_each(const Visit& visit) const {
    for (std::int64_t i = 0, total = count(); i < total; ++i) {
        char* element = view_.data;
        std::int64_t rest = i;
        for (int d = view_.ndim; d-- > 0; rest /= view_.sizes[d]) {
            element += rest % view_.sizes[d] * view_.byte_stride(d);
        }
        visit(element);
    }
}

void Tensor::fill(const std::function<double()>& value) {
    for_each([&](char* element) { encode(view_.dtype, value(), element); });
}

std::vector<double> Tensor::values() const {
    std::vector<double> values;
    values.reserve(count());
    for_each([&](const char* element) { values.push_back(decode(view_.dtype, element)); });
    return values;
}

bool Tensor::gaps_are_untouched() const {
    std::vector<bool> is_element(bytes_);
    const int size = item_size(view_.dtype);
    for_each([&](const char* element) { std::fill_n(is_element.begin() + (element - memory_.get()), size, true); });
    for (std::int64_t i = 0; i < bytes_; ++i) {
        if (!is_element[i] && static_cast<unsigned char>(memory_[i]) != kPoison) return false;
    }
    return true;
}

std::string Tensor::describe() const {
    std::string text = view_.describe() + " strides (";
    for (int d = 0; d < view_.ndim; ++d) text += (d ? ", " : "") + std::to_string(view_.strides[d]);
    return text + ")";
}

}  // namespace pyemo::sanitize
