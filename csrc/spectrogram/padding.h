#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "common/dtype.h"
#include "spectrogram/plan.h"

namespace pyemo::spectrogram {

// One waveform, continued beyond its ends. Positions count from the start of the padding.
template <class T>
struct Source {
    const char* data;
    std::ptrdiff_t stride;  // bytes
    DType dtype;
    std::int64_t samples;
    std::int64_t padding;
    Padding mode;

    // The sample that stands at `index`, which may be outside [0, samples); -1 for zero.
    std::int64_t origin(std::int64_t index) const { return origin_of(index, samples, mode); }

    // [begin, begin + count) where it lies, if it can be used as it is; else null.
    const T* directly(std::int64_t begin, std::int64_t count) const {
        const bool same = (sizeof(T) == sizeof(float) ? dtype == DType::float32 : dtype == DType::float64);
        if (!same || stride != sizeof(T) || begin < padding || begin + count > padding + samples) return nullptr;
        return reinterpret_cast<const T*>(data) + (begin - padding);
    }

    // Beyond the padding there are zeros.
    void read(std::int64_t begin, std::int64_t count, T* target) const {
        const std::int64_t first = begin - padding, last = std::min(first + count, samples + padding);
        std::int64_t i = first;
        for (; i < std::min<std::int64_t>(last, 0); ++i) *target++ = edge(i);
        const std::int64_t inside = std::min(last, samples);
        if (i < inside) {
            copy(i, inside, target);
            target += inside - i;
            i = inside;
        }
        for (; i < last; ++i) *target++ = edge(i);
        for (; i < first + count; ++i) *target++ = 0;
    }

  private:
    T edge(std::int64_t index) const {
        T value = 0;
        if (const std::int64_t i = origin(index); i >= 0) copy(i, i + 1, &value);
        return value;
    }

    // Samples that exist, as T.
    void copy(std::int64_t begin, std::int64_t end, T* target) const {
        switch (dtype) {
            case DType::int16:
                return copy_from<std::int16_t>(begin, end, T(1) / 32768, target);
            case DType::float32:
                return copy_from<float>(begin, end, 1, target);
            default:
                return copy_from<double>(begin, end, 1, target);
        }
    }

    template <class S>
    void copy_from(std::int64_t begin, std::int64_t end, T scale, T* target) const {
        if (stride == sizeof(S)) {  // on its own, so that it becomes vector code
            const S* source = reinterpret_cast<const S*>(data) + begin;
            for (std::int64_t i = 0; i < end - begin; ++i) target[i] = static_cast<T>(source[i]) * scale;
        } else {
            for (std::int64_t i = begin; i < end; ++i) {
                *target++ = static_cast<T>(*reinterpret_cast<const S*>(data + i * stride)) * scale;
            }
        }
    }
};

}  // namespace pyemo::spectrogram
