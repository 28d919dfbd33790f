#pragma once

#include <memory>
#include <string>
#include <vector>

#include "random.h"
#include "tensor.h"

namespace pyemo::sanitize {

// What a plain computation in double finds, and how much a kernel's may differ from it.
struct Expected {
    std::vector<double> values, allowed;
};

struct Result {
    std::string name;
    Tensor tensor;
    Expected expected;
};

// One random call of an operation, forward and backward.
class Problem {
  public:
    virtual ~Problem() = default;
    virtual std::string describe() const = 0;
    // Into the results, on the instruction set in use.
    virtual void run() = 0;

    std::vector<Result> results;
};

std::unique_ptr<Problem> draw_window_attention(Random& random);
std::unique_ptr<Problem> draw_spectrogram(Random& random);
std::unique_ptr<Problem> draw_color_deconvolution(Random& random);
std::unique_ptr<Problem> draw_dense(Random& random);
std::unique_ptr<Problem> draw_layer_norm(Random& random);

}  // namespace pyemo::sanitize
