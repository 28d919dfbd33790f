#include "spectrogram_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pyemo::sanitize {

namespace {

using spectrogram::Padding;

const double kPi = std::acos(-1.0);
const double kLn2 = std::log(2.0);

// A number that lies somewhere in between; `exact` is where it would be without rounding.
struct Interval {
    double low, exact, high;

    template <class Rising>
    Interval map(const Rising& function) const {
        return {function(low), function(exact), function(high)};
    }
    Interval widened(double error) const { return {low - error, exact, high + error}; }
    double width() const { return high - low; }
};

// The sample that stands at `index`, found step by step; -1 for zero.
int origin(int index, int samples, Padding padding) {
    while (index < 0 || index >= samples) {
        switch (padding) {
            case Padding::none:
            case Padding::constant:
                return -1;
            case Padding::replicate:
                return index < 0 ? 0 : samples - 1;
            case Padding::circular:
                index += index < 0 ? samples : -samples;
                break;
            case Padding::reflect:
                if (samples == 1) return 0;
                index = index < 0 ? -index : 2 * (samples - 1) - index;
        }
    }
    return index;
}

class Reference {
  public:
    Reference(const SpectrogramSlices& a, double tolerance)
        : a_(a), tolerance_(tolerance), n_(a.settings.n_fft), cosine_(n_), sine_(n_) {
        for (int i = 0; i < n_; ++i) cosine_[i] = std::cos(2 * kPi * i / n_), sine_[i] = std::sin(2 * kPi * i / n_);
    }

    // One waveform's slices, appended.
    void forward(int waveform, Expected& expected) {
        waveform_ = waveform;
        std::vector<std::vector<Interval>> frames;
        for (int f = 0; f < a_.frames(); ++f) {
            find_bins(f);
            frames.push_back(find_values());
            for (Interval& value : frames.back()) value = logarithm(value);
        }
        const std::vector<Interval> silence(a_.rows(), logarithm({0, 0, 0}));
        for (int s = 0; s < a_.slices; ++s) {
            std::vector<Interval> slice;
            for (int row = 0; row < a_.rows(); ++row) {
                for (int i = 0; i < a_.slicing.frames; ++i) {
                    const std::size_t f = s * a_.slicing.hop + i;
                    slice.push_back((f < frames.size() ? frames[f] : silence)[row]);
                }
            }
            limit_range(slice);
            for (const Interval& value : slice) {
                expected.values.push_back(value.exact);
                expected.allowed.push_back(value.width() + kLeast);
            }
        }
    }

    // One waveform's gradient, appended.
    void backward(int waveform, Expected& expected) {
        waveform_ = waveform;
        std::vector<double> grad(a_.samples), error(a_.samples), magnitude(a_.samples);
        for (int f = 0; f < a_.frames(); ++f) {
            find_bins(f);
            find_bin_gradients(grad_rows(f));
            double all = 0, all_errors = 0;
            for (int k = 0; k < a_.bins(); ++k) {
                all += std::hypot(grad_re_[k], grad_im_[k]);
                all_errors += grad_error_[k];
            }
            for (int i = 0; i < n_; ++i) {
                const int at = sample_at(f, i);
                if (at < 0) continue;
                double sum = 0;
                for (int k = 0; k < a_.bins(); ++k) {
                    const int turn = static_cast<int>(static_cast<long>(i) * k % n_);
                    sum += grad_re_[k] * cosine_[turn] - grad_im_[k] * sine_[turn];
                }
                grad[at] += sum * a_.window[i];
                magnitude[at] += all * std::fabs(a_.window[i]);
                // Of a weight of zero, too, an infinite error is allowed: what is infinite comes from a root's
                // derivative at nearly zero, which can be any number.
                error[at] +=
                    a_.window[i] == 0 && std::isinf(all_errors) ? all_errors : all_errors * std::fabs(a_.window[i]);
            }
        }
        expected.values.insert(expected.values.end(), grad.begin(), grad.end());
        const double largest = *std::max_element(magnitude.begin(), magnitude.end());
        for (double e : error) expected.allowed.push_back(e + tolerance_ * largest + kLeast);
    }

  private:
    static constexpr double kLeast = 1e-35;  // what float32 is too coarse for

    int sample_at(int frame, int i) const {
        return origin(frame * a_.settings.hop_length + i - a_.padding(), a_.samples, a_.settings.padding);
    }

    void find_bins(int frame) {
        std::vector<double> x(n_);
        double squares = 0;
        for (int i = 0; i < n_; ++i) {
            const int at = sample_at(frame, i);
            x[i] = at < 0 ? 0 : a_.waveform[waveform_ * a_.samples + at] * a_.window[i];
            squares += x[i] * x[i];
        }
        bin_error_ = tolerance_ * std::sqrt(squares);
        re_.assign(a_.bins(), 0), im_.assign(a_.bins(), 0), length_.clear();
        for (int k = 0; k < a_.bins(); ++k) {
            for (int i = 0, turn = 0; i < n_; ++i) {
                re_[k] += x[i] * cosine_[turn];
                im_[k] -= x[i] * sine_[turn];
                turn += k;
                if (turn >= n_) turn -= n_;
            }
            const double length = std::hypot(re_[k], im_[k]);
            length_.push_back({std::max(0.0, length - bin_error_), length, length + bin_error_});
        }
    }

    // What the logarithm is taken of, of the bins found last.
    std::vector<Interval> find_values() const {
        std::vector<Interval> powers;
        for (const Interval& length : length_) {
            const Interval power = length.map([&](double x) { return x > 0 ? std::pow(x, a_.settings.power) : 0; });
            powers.push_back(power.widened(tolerance_ * power.high));
        }
        if (!a_.filter_count) return powers;
        std::vector<Interval> values(a_.rows(), Interval{0, 0, 0});
        for (int row = 0; row < a_.rows(); ++row) {
            for (int k = 0; k < a_.bins(); ++k) {
                const double weight = a_.filters[row * a_.bins() + k];
                values[row].low += weight * powers[k].low;
                values[row].exact += weight * powers[k].exact;
                values[row].high += weight * powers[k].high;
            }
        }
        return values;
    }

    Interval logarithm(const Interval& value) const {
        const spectrogram::Settings& settings = a_.settings;
        if (settings.log_scale == 0) return value;
        const Interval result =
            value.map([&](double x) { return settings.log_scale * std::log2(std::max(x, settings.amin)); });
        return result.widened(tolerance_ * (settings.log_scale + std::fabs(result.exact)));
    }

    void limit_range(std::vector<Interval>& slice) const {
        if (!a_.settings.top_db) return;
        Interval largest = slice[0];
        for (const Interval& x : slice) {
            largest = {std::max(largest.low, x.low), std::max(largest.exact, x.exact), std::max(largest.high, x.high)};
        }
        const double range = *a_.settings.top_db, rounding = tolerance_ * (std::fabs(largest.exact) + range);
        for (Interval& x : slice) {
            x = {std::max(x.low, largest.low - range - rounding), std::max(x.exact, largest.exact - range),
                 std::max(x.high, largest.high - range + rounding)};
        }
    }

    // Of the rows of one frame, which several slices may hold.
    std::vector<double> grad_rows(int frame) const {
        std::vector<double> grad(a_.rows());
        const auto width = a_.slicing.frames;
        for (int s = 0; s < a_.slices; ++s) {
            const auto i = frame - s * a_.slicing.hop;
            if (i < 0 || i >= width) continue;
            for (int row = 0; row < a_.rows(); ++row) {
                grad[row] += a_.grad_output[((waveform_ * a_.slices + s) * a_.rows() + row) * width + i];
            }
        }
        return grad;
    }

    void find_bin_gradients(const std::vector<double>& grad_rows) {
        const spectrogram::Settings& settings = a_.settings;
        const std::vector<Interval> values = find_values();
        std::vector<double> grad(a_.bins()), error(a_.bins());  // of the powers
        for (int row = 0; row < a_.rows(); ++row) {
            double factor = 1, factor_error = 0;
            if (settings.log_scale != 0) {
                const auto slope = [&](double x) { return x >= settings.amin ? settings.log_scale / kLn2 / x : 0; };
                const Interval& v = values[row];
                factor = slope(v.exact);
                // At amin the slope falls to zero.
                const double steepest = slope(std::max(v.low, settings.amin)), flattest = slope(v.high);
                factor_error = v.high < settings.amin  ? 0
                               : v.low < settings.amin ? steepest
                                                       : steepest - std::min(flattest, factor);
            }
            const auto add = [&](int k, double weight) {
                grad[k] += weight * grad_rows[row] * factor;
                error[k] += weight * std::fabs(grad_rows[row]) * (factor_error + tolerance_ * std::fabs(factor));
            };
            if (!a_.filter_count) add(row, 1);
            for (int k = 0; a_.filter_count && k < a_.bins(); ++k) add(k, a_.filters[row * a_.bins() + k]);
        }
        grad_re_.assign(a_.bins(), 0), grad_im_.assign(a_.bins(), 0), grad_error_.assign(a_.bins(), 0);
        const double p = settings.power;
        for (int k = 0; k < a_.bins(); ++k) {
            const Interval& length = length_[k];
            if (length.exact > 0) {
                const double factor = grad[k] * p * std::pow(length.exact, p - 2);
                grad_re_[k] = factor * re_[k], grad_im_[k] = factor * im_[k];
            }
            if (length.high == 0) continue;
            // The gradient is a vector of length p |X|^(p - 1); X, and so its direction, is off by bin_error_.
            const double steepest = p == 2 ? 1 : std::pow(p > 2 ? length.high : length.low, p - 2);
            const double change = p * std::max(1.0, p - 1) * steepest * bin_error_;
            const double longest = p * std::pow(p >= 1 ? length.high : length.low, p - 1);
            grad_error_[k] = std::fabs(grad[k]) * (change + tolerance_ * longest);
            if (error[k] > 0) grad_error_[k] += error[k] * longest;
            if (std::isnan(grad_error_[k])) grad_error_[k] = std::numeric_limits<double>::infinity();
        }
    }

    const SpectrogramSlices& a_;
    const double tolerance_;
    const int n_;
    int waveform_ = 0;
    std::vector<double> cosine_, sine_;
    std::vector<double> re_, im_;  // the bins found last, their absolute values, and the error that these may have
    std::vector<Interval> length_;
    double bin_error_ = 0;
    std::vector<double> grad_re_, grad_im_, grad_error_;
};

}  // namespace

SpectrogramExpected spectrogram_slices(const SpectrogramSlices& arguments, double tolerance) {
    SpectrogramExpected expected;
    Reference reference(arguments, tolerance);
    for (int w = 0; w < arguments.waveforms; ++w) {
        reference.forward(w, expected.output);
        if (!arguments.grad_output.empty()) reference.backward(w, expected.grad_waveform);
    }
    return expected;
}

}  // namespace pyemo::sanitize
