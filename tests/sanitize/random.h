#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>

namespace pyemo::sanitize {

// Draws that are the same with every standard library, which the distributions of <random> are not.
class Random {
  public:
    explicit Random(std::seed_seq seed) : engine_(seed) {}

    // Both ends included.
    int between(int low, int high) {
        return low + static_cast<int>(engine_() % static_cast<std::uint64_t>(high - low + 1));
    }
    double uniform(double low, double high) {
        return low + (high - low) * static_cast<double>(engine_() >> 11) * 0x1p-53;
    }
    bool one_in(int count) { return between(1, count) == 1; }
    template <class T>
    T any_of(std::initializer_list<T> choices) {
        return choices.begin()[between(0, static_cast<int>(choices.size()) - 1)];
    }

  private:
    std::mt19937_64 engine_;
};

}  // namespace pyemo::sanitize
