#include <algorithm>

#include "common/isa.h"
#include "common/parallel.h"
#include "common/scratch.h"
#include "dense/checks.h"
#include "dense/dense.h"
#include "dense/kernels.h"

PYEMO_DISPATCH(dense::Kernels, dense_kernels)

namespace pyemo::dense {

namespace {

// How the rows and the product are divided into tasks. The product's parts are sums of their own, so they may depend on
// the number of threads; those of the rows may not, or the results would too.
struct Division {
    // What a task reads of both matrices at once stays in the second cache, and so do its sums, or they are read and
    // written at the pace of the product. Smaller parts, which read more for what they compute, are for more threads.
    static constexpr std::int64_t kOutputs = 192, kInputs = 384, kLeastOutputs = 48, kLeastInputs = 64;
    // Rows are divided for small products only, of which each slice has its own.
    static constexpr std::int64_t kLeastRows = 1024, kMostSlices = 16, kMostElements = std::int64_t{1} << 18;

    std::int64_t rows, outputs, inputs, slices, output_parts, input_parts;

    Division(std::int64_t rows, std::int64_t outputs, std::int64_t inputs, int threads)
        : rows(rows),
          outputs(outputs),
          inputs(inputs),
          slices(outputs * inputs > kMostElements ? 1 : std::clamp<std::int64_t>(rows / kLeastRows, 1, kMostSlices)),
          output_parts(divided(outputs, kOutputs)),
          input_parts(divided(inputs, kInputs)) {
        const std::int64_t wanted = threads > 2 ? 2 * threads : threads;
        while (tasks() < wanted) {
            if (outputs >= 2 * kLeastOutputs * output_parts) {
                output_parts *= 2;
            } else if (inputs >= 2 * kLeastInputs * input_parts) {
                input_parts *= 2;
            } else {
                break;
            }
        }
    }

    std::int64_t tasks() const { return slices * output_parts * input_parts; }
    std::int64_t product_row() const { return divided(inputs, kMostLanes) * kMostLanes; }
    // The first input of a part begins a vector.
    std::int64_t input_begin(std::int64_t part) const {
        return std::min(part * divided(divided(inputs, input_parts), kMostLanes) * kMostLanes, inputs);
    }
    std::int64_t most_outputs() const { return divided(outputs, output_parts); }
    std::int64_t most_inputs() const { return input_begin(1); }
};

}  // namespace

bool has_weight_gradient(DType dtype) { return dense_kernels().weight_gradient[static_cast<int>(dtype)].compute; }

void weight_gradient(const TensorView& dy, const TensorView& x, const TensorView& grad_weight,
                     const TensorView* grad_bias, int threads) {
    require_kernel(has_weight_gradient(x.dtype), x.dtype);
    require_matrix(x, "the input");
    require_matrix(dy, "the gradient of the output");
    require_matrix(grad_weight, "the gradient of the weight");
    require_contiguous(grad_weight, "the gradient of the weight");
    require_dtype(dy, "the gradient of the output", x.dtype);
    require_dtype(grad_weight, "the gradient of the weight", x.dtype);
    require(dy.sizes[0] == x.sizes[0] && grad_weight.sizes[0] == dy.sizes[1] && grad_weight.sizes[1] == x.sizes[1],
            "the gradient of the weight " + grad_weight.describe() + " does not fit " + dy.describe() + " and " +
                x.describe());
    const Division division(x.sizes[0], dy.sizes[1], x.sizes[1], threads);
    require_vector(grad_bias, "the gradient of the bias", division.outputs, x.dtype);

    const WeightGradient& kernel = dense_kernels().weight_gradient[static_cast<int>(x.dtype)];
    const Add add = dense_kernels().add[static_cast<int>(x.dtype)];
    const std::int64_t size = item_size(x.dtype), product_row = division.product_row(),
                       product_size = division.outputs * product_row;
    // Of a single slice, products become the result at once: where they are, or while they are in the cache.
    const bool single = division.slices == 1,
               in_place = single && x.dtype == DType::float32 && product_row == division.inputs;
    const std::size_t product_bytes = single ? 0 : division.slices * product_size * sizeof(float),
                      sum_bytes = grad_bias ? division.slices * division.outputs * sizeof(float) : 0;
    Part largest{};
    largest.outputs = static_cast<int>(division.most_outputs());
    largest.inputs = static_cast<int>(division.most_inputs());
    largest.product_row = divided(largest.inputs, kMostLanes) * kMostLanes;
    const std::size_t kernel_bytes = aligned(kernel.scratch_bytes(largest)),
                      own_bytes = single && !in_place ? largest.outputs * largest.product_row * sizeof(float) : 0,
                      piece = kernel_bytes + own_bytes;
    Memory memory(aligned(product_bytes) + aligned(sum_bytes) + Scratch::bytes(threads, piece));
    float* products = reinterpret_cast<float*>(memory.take(product_bytes));
    float* sums = grad_bias ? reinterpret_cast<float*>(memory.take(sum_bytes)) : nullptr;
    Scratch scratch(threads, piece, memory);

    parallel_for(division.tasks(), threads, [&](std::int64_t i) {
        const std::int64_t input_part = i % division.input_parts, rest = i / division.input_parts,
                           output_part = rest % division.output_parts, slice = rest / division.output_parts;
        const std::int64_t row = slice * division.rows / division.slices,
                           output = output_part * division.outputs / division.output_parts,
                           input = division.input_begin(input_part);
        Part part;
        part.rows = (slice + 1) * division.rows / division.slices - row;
        part.outputs = static_cast<int>((output_part + 1) * division.outputs / division.output_parts - output);
        part.inputs = static_cast<int>(division.input_begin(input_part + 1) - input);
        if (part.inputs == 0) return;
        part.dy = {dy.data + (row * dy.strides[0] + output) * size, dy.strides[0]};
        part.x = {x.data + (row * x.strides[0] + input) * size, x.strides[0]};
        part.sums = sums && input_part == 0 ? sums + slice * division.outputs + output : nullptr;
        if (part.sums) std::fill_n(part.sums, part.outputs, 0.f);
        char* result = grad_weight.data + (output * division.inputs + input) * size;
        scratch.lend([&](char* memory) {
            if (own_bytes) {
                part.product = reinterpret_cast<float*>(memory + kernel_bytes);
                part.product_row = largest.product_row;
            } else {
                part.product = in_place ? reinterpret_cast<float*>(result)
                                        : products + slice * product_size + output * product_row + input;
                part.product_row = product_row;
            }
            kernel.compute(part, memory);
            for (int o = 0; own_bytes && o < part.outputs; ++o) {
                add(part.product + o * part.product_row, 1, 0, part.inputs, result + o * division.inputs * size);
            }
        });
    });

    const int slices = static_cast<int>(division.slices);
    if (!single) {
        parallel_for(division.outputs, threads, [&](std::int64_t output) {
            add(products + output * product_row, slices, product_size, division.inputs,
                grad_weight.data + output * division.inputs * size);
        });
    }
    if (sums) add(sums, slices, division.outputs, division.outputs, grad_bias->data);
}

}  // namespace pyemo::dense
