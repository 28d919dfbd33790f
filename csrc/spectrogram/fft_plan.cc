#include "spectrogram/fft_plan.h"

#include <cmath>
#include <complex>
#include <cstdint>
#include <numeric>

namespace pyemo::spectrogram {

namespace {

const double kPi = std::acos(-1.0);

// e^(-2 pi i k / n)
std::complex<double> root(std::int64_t k, std::int64_t n) { return std::polar(1.0, -2 * kPi * (k % n) / n); }

template <class T>
void append(std::vector<T>& table, std::complex<double> value) {
    table.push_back(static_cast<T>(value.real()));
    table.push_back(static_cast<T>(value.imag()));
}

// Radices whose product is n, or none if n has a prime factor above five. Eights come last: the last pass has no
// twiddles, which spares more of them the larger its radix.
std::vector<int> factorize(int n) {
    std::vector<int> radices;
    for (int prime : {5, 3}) {
        for (; n % prime == 0; n /= prime) radices.push_back(prime);
    }
    int twos = 0;
    for (; n % 2 == 0; n /= 2) ++twos;
    if (n != 1) return {};
    if (twos == 1) radices.push_back(2);
    const int fours = twos < 2 ? 0 : (3 - twos % 3) % 3;
    radices.insert(radices.end(), fours, 4);
    radices.insert(radices.end(), (twos - 2 * fours) / 3, 8);
    return radices;
}

// The transform itself, for tables only.
void transform(std::vector<std::complex<double>>& x) {
    const std::size_t n = x.size();
    if (n == 1) return;
    std::vector<std::complex<double>> even(n / 2), odd(n / 2);
    for (std::size_t i = 0; i < n; ++i) (i % 2 ? odd : even)[i / 2] = x[i];
    transform(even);
    transform(odd);
    for (std::size_t k = 0; k < n / 2; ++k) {
        const auto turned = root(k, n) * odd[k];
        x[k] = even[k] + turned;
        x[k + n / 2] = even[k] - turned;
    }
}

}  // namespace

template <class T>
FftPlan<T>::FftPlan(int n) {
    tables_.n = n;
    const std::vector<int> radices = factorize(n);
    if (n == 1 || !radices.empty()) {
        plan_passes(radices);
    } else {
        plan_convolution();
    }
    tables_.position = position_.data();
}

template <class T>
void FftPlan<T>::plan_passes(const std::vector<int>& radices) {
    tables_.passes = static_cast<int>(radices.size());
    int block = tables_.n;
    for (int p = 0; p < tables_.passes; ++p) {
        const int radix = radices[p], butterflies = block / radix;
        for (int j = 0; butterflies > 1 && j < butterflies; ++j) {
            for (int q = 1; q < radix; ++q) append(twiddles_[p], root(j * q, block));
        }
        tables_.pass[p] = {radix, butterflies > 1 ? twiddles_[p].data() : nullptr};
        block = butterflies;
    }
    // Output q of the first pass's butterflies goes into block q, whose transform is X[q], X[q + radix], ...
    position_.resize(tables_.n);
    for (int k = 0; k < tables_.n; ++k) {
        int size = tables_.n, rest = k, position = 0;
        for (int radix : radices) {
            size /= radix;
            position += rest % radix * size;
            rest /= radix;
        }
        position_[k] = position;
    }
}

template <class T>
void FftPlan<T>::plan_convolution() {
    const int n = tables_.n;
    int length = 1;
    while (length < 2 * n - 1) length *= 2;
    convolution_ = std::make_unique<FftPlan>(length);
    tables_.convolution = &convolution_->tables();
    position_.resize(n);
    std::iota(position_.begin(), position_.end(), 0);

    std::vector<std::complex<double>> spectrum(length);
    for (std::int64_t j = 0; j < n; ++j) {
        const auto chirp = root(j * j % (2 * n), 2 * n);
        append(chirp_, chirp);
        spectrum[j] = spectrum[(length - j) % length] = std::conj(chirp) / static_cast<double>(length);
    }
    transform(spectrum);
    for (const auto& value : spectrum) append(chirp_spectrum_, value);
    tables_.chirp = chirp_.data();
    tables_.chirp_spectrum = chirp_spectrum_.data();
}

template class FftPlan<float>;
template class FftPlan<double>;

}  // namespace pyemo::spectrogram
