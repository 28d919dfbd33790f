#include "window_attention_reference.h"

#include <algorithm>
#include <cmath>

namespace pyemo::sanitize {

namespace {

constexpr double kShiftPenalty = -100;

// Rows of numbers, and the sums of absolute values behind them.
struct Rows {
    int width;
    Sums sums;

    Rows(int rows, int width) : width(width), sums(static_cast<std::size_t>(rows) * width) {}
    double& operator()(int row, int column) { return sums.values[row * width + column]; }
    double& magnitude(int row, int column) { return sums.magnitudes[row * width + column]; }
    void add(int row, int column, double value, double magnitude) { sums.add(row * width + column, value, magnitude); }
};

// One head of one window.
class Unit {
  public:
    Unit(const WindowAttention& a, int image, int window_row, int window_column, int head)
        : a_(a),
          n_(a.tokens()),
          d_(a.head_dim),
          head_(head),
          window_(window_row * a.columns_of_windows + window_column),
          probability_(n_, n_),
          grad_logit_(n_, n_) {
        for (int y = 0; y < a.window.height; ++y) {
            for (int x = 0; x < a.window.width; ++x) {
                const int row = (window_row * a.window.height + y + a.shift.height) % a.height();
                const int column = (window_column * a.window.width + x + a.shift.width) % a.width();
                position_.push_back((image * a.height() + row) * a.width() + column);
                const bool wrapped_down = window_row == a.rows_of_windows - 1 && y >= a.window.height - a.shift.height;
                const bool wrapped_right =
                    window_column == a.columns_of_windows - 1 && x >= a.window.width - a.shift.width;
                region_.push_back(2 * wrapped_down + wrapped_right);
            }
        }
        for (int part = 0; part < 3; ++part) {
            for (int i = 0; i < n_; ++i) {
                const double* from = &a.qkv[channel(part, i)];
                token_[part].insert(token_[part].end(), from, from + d_);
            }
        }
        for (int part = 0; part < 2; ++part) {
            inverse_length_[part].assign(n_, 1);
            for (int i = 0; i < n_ && cosine(); ++i) {
                double* x = &token_[part][i * d_];
                inverse_length_[part][i] = 1 / std::max(std::sqrt(dot(x, x)), 1e-12);
                for (int c = 0; c < d_; ++c) x[c] *= inverse_length_[part][i];
            }
        }
    }

    void forward(Sums& output) {
        for (int i = 0; i < n_; ++i) {
            std::vector<double> logit(n_);
            for (int j = 0; j < n_; ++j) {
                logit[j] = scale() * dot(token(0, i), token(1, j));
                if (!a_.bias.empty()) logit[j] += a_.bias[bias_at(i, j)];
                if (!a_.mask.empty()) logit[j] += a_.mask[(window_ * n_ + i) * n_ + j];
                if (region_[i] != region_[j]) logit[j] += kShiftPenalty;
            }
            const double top = *std::max_element(logit.begin(), logit.end());
            double sum = 0;
            for (double& x : logit) sum += x = std::exp(x - top);
            for (int j = 0; j < n_; ++j) {
                probability_(i, j) = logit[j] / sum;
                for (int c = 0; c < d_; ++c) {
                    const double term = probability_(i, j) * token(2, j)[c];
                    output.add(output_at(i) + c, term, std::fabs(term));
                }
            }
        }
    }

    // After forward().
    void backward(WindowAttentionSums& sums) {
        find_logit_gradients();
        for (int i = 0; i < n_; ++i) {
            for (int j = 0; j < n_; ++j) {
                const double grad = grad_logit_(i, j), magnitude = grad_logit_.magnitude(i, j);
                if (!a_.bias.empty()) sums.grad_bias.add(bias_at(i, j), grad, magnitude);
                if (cosine()) {
                    const double product = dot(token(0, i), token(1, j));
                    sums.grad_logit_scale.add(head_, grad * product, magnitude * std::fabs(product));
                }
                for (int c = 0; c < d_; ++c) {
                    const double term = probability_(i, j) * grad_output(i)[c];
                    sums.grad_qkv.add(channel(2, j) + c, term, std::fabs(term));
                }
            }
        }
        Rows grads[2] = {{n_, d_}, {n_, d_}};
        for (int i = 0; i < n_; ++i) {
            for (int j = 0; j < n_; ++j) {
                const double grad = scale() * grad_logit_(i, j),
                             magnitude = std::fabs(scale()) * grad_logit_.magnitude(i, j);
                for (int c = 0; c < d_; ++c) {
                    grads[0].add(i, c, grad * token(1, j)[c], magnitude * std::fabs(token(1, j)[c]));
                    grads[1].add(j, c, grad * token(0, i)[c], magnitude * std::fabs(token(0, i)[c]));
                }
            }
        }
        for (int part = 0; part < 2; ++part) add_through_length(part, grads[part], sums.grad_qkv);
    }

  private:
    bool cosine() const { return !a_.logit_scale.empty(); }
    double scale() const { return cosine() ? a_.logit_scale[head_] : a_.scale; }
    const double* token(int part, int i) const { return &token_[part][i * d_]; }
    const double* grad_output(int i) const { return &a_.grad_output[output_at(i)]; }
    std::size_t channel(int part, int i) const {
        return (static_cast<std::size_t>(position_[i]) * 3 + part) * a_.channels() + head_ * d_;
    }
    std::size_t output_at(int i) const { return static_cast<std::size_t>(position_[i]) * a_.channels() + head_ * d_; }
    std::size_t bias_at(int i, int j) const { return (static_cast<std::size_t>(head_) * n_ + i) * n_ + j; }
    double dot(const double* a, const double* b) const {
        double sum = 0;
        for (int c = 0; c < d_; ++c) sum += a[c] * b[c];
        return sum;
    }

    void find_logit_gradients() {
        for (int i = 0; i < n_; ++i) {
            std::vector<double> grad(n_), magnitude(n_);
            double mean = 0, mean_magnitude = 0;
            for (int j = 0; j < n_; ++j) {
                for (int c = 0; c < d_; ++c) {
                    const double term = grad_output(i)[c] * token(2, j)[c];
                    grad[j] += term;
                    magnitude[j] += std::fabs(term);
                }
                mean += probability_(i, j) * grad[j];
                mean_magnitude += probability_(i, j) * magnitude[j];
            }
            for (int j = 0; j < n_; ++j) {
                grad_logit_(i, j) = probability_(i, j) * (grad[j] - mean);
                grad_logit_.magnitude(i, j) = probability_(i, j) * (magnitude[j] + mean_magnitude);
            }
        }
    }

    // From the gradient of what is divided by its length to that of the queries (part 0) or keys (1).
    void add_through_length(int part, Rows& grads, Sums& grad_qkv) const {
        for (int i = 0; i < n_; ++i) {
            double along = 0, along_magnitude = 0;
            for (int c = 0; c < d_ && cosine(); ++c) {
                along += token(part, i)[c] * grads(i, c);
                along_magnitude += std::fabs(token(part, i)[c]) * grads.magnitude(i, c);
            }
            for (int c = 0; c < d_; ++c) {
                const double x = token(part, i)[c], inverse = inverse_length_[part][i];
                grad_qkv.add(channel(part, i) + c, inverse * (grads(i, c) - x * along),
                             inverse * (grads.magnitude(i, c) + std::fabs(x) * along_magnitude));
            }
        }
    }

    const WindowAttention& a_;
    const int n_, d_, head_, window_;
    std::vector<int> position_, region_;
    std::vector<double> token_[3], inverse_length_[2];  // of cosine attention, queries and keys of length 1
    Rows probability_, grad_logit_;
};

}  // namespace

WindowAttentionSums window_attention(const WindowAttention& a) {
    WindowAttentionSums sums{Sums(a.grad_output.size()), Sums(a.qkv.size()), Sums(a.bias.size()),
                             Sums(a.logit_scale.size())};
    for (int image = 0; image < a.batch; ++image) {
        for (int row = 0; row < a.rows_of_windows; ++row) {
            for (int column = 0; column < a.columns_of_windows; ++column) {
                for (int head = 0; head < a.heads; ++head) {
                    Unit unit(a, image, row, column, head);
                    unit.forward(sums.output);
                    unit.backward(sums);
                }
            }
        }
    }
    return sums;
}

}  // namespace pyemo::sanitize
