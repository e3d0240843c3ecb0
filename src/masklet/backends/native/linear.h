// One or several successive linear layers, each with a layer norm before it and an activation after it.
//
// A thread computes all layers for ROW_BLOCK rows, so that the wide rows between layers stay in its cache.

#pragma once

#include "packing.h"

#include <type_traits>

namespace {

// Layer norm over d channels.
void normalize(const float* weight, const float* bias, float eps, int d, const float* x, float* out) {
    Floats sum = zero(), squares = zero();
    for (int i = 0; i < d; i += LANES) sum = add(sum, load(x + i));
    const Floats mean = set1(reduce_add(sum) / d);
    for (int i = 0; i < d; i += LANES) {
        const Floats off = sub(load(x + i), mean);
        squares = fmadd(off, off, squares);
    }
    const Floats factor = set1(1.0f / std::sqrt(reduce_add(squares) / d + eps));
    for (int i = 0; i < d; i += LANES) {
        const Floats off = mul(sub(load(x + i), mean), factor);
        store(out + i, fmadd(off, load(weight + i), load(bias + i)));
    }
}

void normalize(const Layer& layer, const float* x, float* out) {
    normalize(layer.norm_weight, layer.norm_bias, layer.norm_eps, layer.inputs, x, out);
}

template <class Number>
struct LayerStack {  // the workspace of one thread for successive layers
    const Layer* layers;
    int count;
    std::vector<RowBlock<Number>> blocks;
    std::vector<std::vector<float>> normalized, between;

    LayerStack(const Layer* layers, int count) : layers(layers), count(count) {
        for (int i = 0; i < count; i++) {
            blocks.emplace_back(layers[i].inputs);
            normalized.emplace_back(layers[i].norm_weight ? ROW_BLOCK * layers[i].inputs : 0);
            between.emplace_back(i + 1 < count ? ROW_BLOCK * layers[i].outputs : 0);
        }
    }

    // out (n, outputs) = all layers of x (n, inputs), plus the residual unless it is null.
    void run(const float* x, int64_t n, const float* residual, float* out) {
        const int inputs = layers[0].inputs, outputs = layers[count - 1].outputs;
        for (int64_t first = 0; first < n; first += ROW_BLOCK) {
            const int rows = static_cast<int>(std::min<int64_t>(ROW_BLOCK, n - first));
            const float* from = x + first * inputs;
            for (int i = 0; i < count; i++) {
                const bool last = i + 1 == count;
                float* to = last ? out + first * outputs : between[i].data();
                apply(i, from, rows, last && residual ? residual + first * outputs : nullptr, to);
                from = to;
            }
        }
    }

  private:
    void apply(int i, const float* x, int rows, const float* residual, float* out) {
        const Layer& layer = layers[i];
        RowBlock<Number>& block = blocks[i];
        const auto* panels = static_cast<const typename Number::Panel*>(layer.weight);
        const int inputs = layer.inputs, outputs = layer.outputs;
        if (layer.norm_weight) {
            for (int r = 0; r < rows; r++) normalize(layer, x + r * inputs, &normalized[i][r * inputs]);
            x = normalized[i].data();
        }
        block.fill(x, inputs, rows, inputs, nullptr, nullptr);
        for (int o = 0; o < outputs; o += 2 * LANES) {
            const int halves = o + LANES < outputs ? 2 : 1;
            for (int r = 0; r < rows; r += ROWS) {
                Products dots;
                Number::multiply(&block.rows[r * inputs], &block.sum[r], inputs, panels + static_cast<int64_t>(o) * inputs, dots);
                for (int j = 0; j < ROWS && r + j < rows; j++)
                    for (int half = 0; half < halves; half++) {
                        const int at = o + half * LANES, to = (r + j) * outputs + at;
                        const Floats size = mul(load(layer.scale + at), set1(block.scale[r + j]));
                        Floats y = fmadd(dots[j][half], size, load(layer.bias + at));
                        if (layer.activation == 1 || layer.activation == 3) y = max(y, zero());
                        if (layer.activation == 3) y = min(y, set1(6.0f));
                        if (layer.activation == 2) y = std::is_same_v<Number, Float32> ? gelu(y) : approximate_gelu(y);
                        if (residual) y = add(y, load(residual + to));
                        store(out + to, y);
                    }
            }
        }
    }
};

template <class Number>
void run_layers(const Layer* layers, int count, const float* x, int64_t rows, const float* residual, float* out) {
    const int inputs = layers[0].inputs, outputs = layers[count - 1].outputs;
    in_parallel((rows + ROW_BLOCK - 1) / ROW_BLOCK, [&](Chunks& chunks) {
        LayerStack<Number> stack(layers, count);
        for (int64_t chunk; chunks.take(chunk);) {
            const int64_t first = chunk * ROW_BLOCK;
            stack.run(x + first * inputs, std::min<int64_t>(ROW_BLOCK, rows - first),
                      residual ? residual + first * outputs : nullptr, out + first * outputs);
        }
    });
}

}  // namespace
