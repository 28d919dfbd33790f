#include "dense/packed_layer.h"

#include <algorithm>

#include "common/isa.h"
#include "common/parallel.h"
#include "dense/checks.h"

PYEMO_DISPATCH(dense::Kernels, dense_kernels)

namespace pyemo::dense {

namespace {

const Layer& kernel_of(DType dtype) { return dense_kernels().layer[static_cast<int>(dtype)]; }

// A layer's tasks: parts of about one size.
struct Division {
    // Of panels as many as stay in the second cache while rows go by; of rows so many that it is worth fetching them.
    static constexpr std::size_t kPanelBytes = 512 << 10;
    static constexpr std::int64_t kLeastPanels = 8, kStrips = 16;

    std::int64_t strips, panels, row_parts, panel_parts;

    Division(const Layer& kernel, std::int64_t panels, std::size_t panel_bytes, std::int64_t rows, int threads)
        : strips(divided(rows, kernel.strip)),
          panels(panels),
          row_parts(divided(strips, kStrips)),
          panel_parts(divided(panels, std::max<std::int64_t>(kPanelBytes / panel_bytes, kLeastPanels))) {
        // More of them, so that no thread waits long for the last one.
        const std::int64_t wanted = threads == 1 ? 1 : 4 * threads;
        while (tasks() < wanted && (row_parts < strips || panel_parts < panels)) {
            if (row_parts < strips && strips * panel_parts >= panels * row_parts) {
                row_parts = std::min(2 * row_parts, strips);
            } else {
                panel_parts = std::min(2 * panel_parts, panels);
            }
        }
        if (panel_parts % threads != 0) row_parts = std::min(divided(row_parts, threads) * threads, strips);
    }

    // Whether all rows fit into one task of a panel.
    static bool few(const Layer& kernel, std::int64_t rows) { return rows <= kStrips * kernel.strip; }

    std::int64_t tasks() const { return row_parts * panel_parts; }
    std::int64_t strip(std::int64_t part) const { return part * strips / row_parts; }
    std::int64_t panel(std::int64_t part) const { return part * panels / panel_parts; }
};

Weights weights_of(const TensorView& weight) {
    return {weight.data, weight.strides[0], weight.strides[1], static_cast<int>(weight.sizes[0]),
            static_cast<int>(weight.sizes[1])};
}

// Of so many outputs from `first` on; zeros where there is none.
void widen_bias(const TensorView* bias, DType dtype, std::int64_t first, std::int64_t outputs, std::int64_t room,
                float* to) {
    std::fill_n(to, room, 0.f);
    if (!bias) return;
    dense_kernels().widen[static_cast<int>(dtype)](bias->data + first * item_size(dtype), outputs, to);
}

void move_columns(Rows& rows, std::int64_t by, DType dtype) {
    for (Matrix* matrix : {&rows.y, &rows.hidden}) {
        if (matrix->data) matrix->data += by * item_size(dtype);
    }
}

}  // namespace

Rows slice(const Rows& rows, std::int64_t begin, std::int64_t count, DType dtype) {
    Rows part = rows;
    part.rows = count;
    for (Matrix* matrix : {&part.x, &part.y, &part.hidden}) {
        if (matrix->data) matrix->data += begin * matrix->row * item_size(dtype);
    }
    return part;
}

bool has_layer(DType dtype) { return kernel_of(dtype).compute; }

bool few_rows(DType dtype, std::int64_t rows) { return Division::few(kernel_of(dtype), rows); }

void compute_few_rows(const TensorView& weight, const TensorView* bias, const Rows& rows, int threads) {
    const DType dtype = weight.dtype;
    const Layer& kernel = kernel_of(dtype);
    const Weights weights = weights_of(weight);
    const std::size_t panel_bytes = aligned(kernel.panel_bytes(weights.inputs)),
                      bias_bytes = aligned(kernel.panel * sizeof(float)),
                      piece = panel_bytes + bias_bytes + kernel.scratch_bytes(weights.inputs);
    Memory memory(Scratch::bytes(threads, piece));
    Scratch scratch(threads, piece, memory);
    parallel_for(divided(weights.outputs, kernel.panel), threads, [&](std::int64_t panel) {
        scratch.lend([&](char* memory) {
            const std::int64_t first = panel * kernel.panel;
            float* const biases = reinterpret_cast<float*>(memory + panel_bytes);
            Rows part = rows;
            part.weights = memory, part.bias = biases;
            part.inputs = weights.inputs;
            part.outputs = static_cast<int>(std::min<std::int64_t>(weights.outputs - first, kernel.panel));
            kernel.pack(weights, static_cast<int>(panel), memory);
            widen_bias(bias, dtype, first, part.outputs, kernel.panel, biases);
            move_columns(part, first, dtype);
            kernel.compute(part, memory + panel_bytes + bias_bytes);
        });
    });
}

std::size_t PackedLayer::bytes(DType dtype, std::int64_t inputs, std::int64_t outputs) {
    const Layer& kernel = kernel_of(dtype);
    const std::int64_t panels = divided(outputs, kernel.panel);
    return aligned(panels * kernel.panel_bytes(static_cast<int>(inputs))) +
           aligned(panels * kernel.panel * sizeof(float));
}

std::size_t PackedLayer::scratch_bytes(DType dtype, std::int64_t inputs) {
    return kernel_of(dtype).scratch_bytes(static_cast<int>(inputs));
}

PackedLayer::PackedLayer(const TensorView& weight, const TensorView* bias, char* memory, int threads)
    : dtype_(weight.dtype),
      kernel_(kernel_of(weight.dtype)),
      inputs_(static_cast<int>(weight.sizes[1])),
      outputs_(static_cast<int>(weight.sizes[0])),
      panels_(divided(outputs_, kernel_.panel)),
      panel_bytes_(kernel_.panel_bytes(inputs_)),
      weights_(memory),
      bias_(reinterpret_cast<float*>(memory + aligned(panels_ * panel_bytes_))) {
    const Weights weights = weights_of(weight);
    parallel_for(panels_, threads, [&](std::int64_t panel) {
        kernel_.pack(weights, static_cast<int>(panel), weights_ + panel * panel_bytes_);
    });
    widen_bias(bias, dtype_, 0, outputs_, panels_ * kernel_.panel, bias_);
}

void PackedLayer::compute(Rows rows, std::int64_t panel, std::int64_t panels, char* scratch) const {
    const std::int64_t output = panel * kernel_.panel;
    move_columns(rows, output, dtype_);
    rows.weights = weights_ + panel * panel_bytes_;
    rows.bias = bias_ + output;
    rows.inputs = inputs_;
    rows.outputs = static_cast<int>(std::min(outputs_ - output, panels * kernel_.panel));
    kernel_.compute(rows, scratch);
}

void PackedLayer::compute(const Rows& rows, Scratch& scratch, int threads) const {
    const Division division(kernel_, panels_, panel_bytes_, rows.rows, threads);
    // A thread's tasks follow each other with the same panels.
    parallel_for(division.tasks(), threads, [&](std::int64_t i) {
        const std::int64_t panels = i / division.row_parts, part = i % division.row_parts,
                           panel = division.panel(panels), row = division.strip(part) * kernel_.strip,
                           end = std::min(division.strip(part + 1) * kernel_.strip, rows.rows);
        scratch.lend([&](char* memory) {
            compute(slice(rows, row, end - row, dtype_), panel, division.panel(panels + 1) - panel, memory);
        });
    });
}

}  // namespace pyemo::dense
