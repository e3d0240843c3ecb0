// The convolutions of EfficientNet-Lite: its stem, its inverted residual blocks, and depthwise convolutions; and those that
// downsample a mask for the memory encoder.
//
// Maps are (h, w, channels) with contiguous channels, padded with zeros to a multiple of LANES. A pointwise convolution is
// then a linear layer over cells (linear.h). A depthwise convolution is computed in float32 for every number type: it is a
// tenth of the arithmetic, so quantizing it would save no time.
//
// A block expands its map to six times the channels. The expanded map is never stored as a whole: a BAND of its rows, which
// fits into the second-level cache, is expanded, convolved and projected before the next one. A ring buffer holds the
// band's rows, and keeps those that the next band also needs.

#pragma once

#include "linear.h"

#include <cstring>
#include <memory>

namespace {

constexpr int64_t BAND_BYTES = 640 << 10;  // maximum size of a band of the expanded map
constexpr int NARROWED_CELLS = 24;         // minimum number of cells that are projected together: three register tiles

inline int padding_before(int side, int stride) {  // TensorFlow's padding: at stride 2 the extra cell is at the right and the bottom
    return stride == 1 ? side / 2 : (side - 2) / 2;
}
inline int convolved_length(int length, int stride) { return length / stride; }

struct Depthwise {
    const float *kernel, *bias;  // (side, side, channels), (channels)
    int side, stride, channels;
    bool clips;  // clamps to 0 ... 6
};

// Computes an output row of a depthwise convolution. rows[dy] are its `side` input rows, each of `width` cells.
template <int SIDE>
void convolve_row(const Depthwise& conv, const float* const* rows, int width, int out_width, float* out) {
    const int channels = conv.channels, stride = conv.stride, before = padding_before(SIDE, stride);
    const Floats lowest = set1(conv.clips ? 0.0f : -3e38f), highest = set1(conv.clips ? 6.0f : 3e38f);
    // Outputs from `begin` to `end` need no cells outside the map.
    const int begin = std::min((before + stride - 1) / stride, out_width);
    const int end = std::max(begin, std::min(out_width, width + before >= SIDE ? (width + before - SIDE) / stride + 1 : 0));
    for (int c = 0; c < channels; c += LANES) {
        const float* kernel = conv.kernel + c;
        const Floats bias = load(conv.bias + c);
        Floats weights[SIDE * SIDE];
#pragma GCC unroll 49
        for (int i = 0; i < SIDE * SIDE; i++) weights[i] = load(kernel + i * channels);
        const auto finish = [&](int x, Floats sum) { store(out + x * channels + c, min(max(sum, lowest), highest)); };
        const auto at_border = [&](int x) {
            Floats sum = bias;
            const int left = x * stride - before;
            for (int dy = 0; dy < SIDE; dy++)
                for (int dx = std::max(0, -left); dx < std::min(SIDE, width - left); dx++)
                    sum = fmadd(load(rows[dy] + (left + dx) * channels + c), load(kernel + (dy * SIDE + dx) * channels), sum);
            finish(x, sum);
        };
        for (int x = 0; x < begin; x++) at_border(x);
        for (int x = begin; x < end; x++) {
            Floats sum = bias;
            const int64_t at = static_cast<int64_t>(x * stride - before) * channels + c;
#pragma GCC unroll 7
            for (int dy = 0; dy < SIDE; dy++) {
                const float* cell = rows[dy] + at;
#pragma GCC unroll 7
                for (int dx = 0; dx < SIDE; dx++) sum = fmadd(load(cell + dx * channels), weights[dy * SIDE + dx], sum);
            }
            finish(x, sum);
        }
        for (int x = end; x < out_width; x++) at_border(x);
    }
}

inline void convolve_row(const Depthwise& conv, const float* const* rows, int width, int out_width, float* out) {
    if (conv.side == 3) convolve_row<3>(conv, rows, width, out_width, out);
    if (conv.side == 5) convolve_row<5>(conv, rows, width, out_width, out);
    if (conv.side == 7) convolve_row<7>(conv, rows, width, out_width, out);
}

constexpr int LARGEST_SIDE = 7;

// The input rows of output row y. `row_at(row)` returns the address of a row; `outside` is a row of zeros.
template <class RowAt>
void find_rows(const Depthwise& conv, int y, int height, const float* outside, const RowAt& row_at, const float** rows) {
    const int top = y * conv.stride - padding_before(conv.side, conv.stride);
    for (int dy = 0; dy < conv.side; dy++) rows[dy] = top + dy >= 0 && top + dy < height ? row_at(top + dy) : outside;
}

// out (h / stride, w / stride, channels)
void run_depthwise(const Depthwise& conv, const float* x, int h, int w, float* out) {
    const int out_h = convolved_length(h, conv.stride), out_w = convolved_length(w, conv.stride);
    const int64_t row_floats = static_cast<int64_t>(w) * conv.channels;
    const std::vector<float> outside(row_floats);
    in_parallel(out_h, [&](Chunks& chunks) {
        const float* rows[LARGEST_SIDE];
        for (int64_t y; chunks.take(y);) {
            find_rows(conv, static_cast<int>(y), h, outside.data(), [&](int row) { return x + row * row_floats; }, rows);
            convolve_row(conv, rows, w, out_w, out + y * out_w * conv.channels);
        }
    });
}

// The expanded map of a block: the rows of the current band, or the map itself if the block does not expand.
template <class Number>
class WidenedRows {
  public:
    WidenedRows(const InvertedResidual& block, const float* x, int h, int w, int capacity)
        : block(block), x(x), capacity(std::min(h, capacity)), width(w), row_floats(static_cast<int64_t>(w) * block.hidden),
          ring(block.expand.weight ? new float[this->capacity * row_floats] : nullptr) {}

    const float* at(int row) const { return ring ? &ring[row % capacity * row_floats] : x + row * row_floats; }

    // Expands the missing rows before `last`.
    void widen_until(int last) {
        while (ring && done < last) {
            const int slot = done % capacity, count = std::min(last - done, capacity - slot);
            const float* from = x + static_cast<int64_t>(done) * width * block.expand.inputs;
            run_layers<Number>(&block.expand, 1, from, static_cast<int64_t>(count) * width, nullptr, &ring[slot * row_floats]);
            done += count;
        }
    }

  private:
    const InvertedResidual& block;
    const float* x;
    const int capacity, width;
    const int64_t row_floats;
    const std::unique_ptr<float[]> ring;
    int done = 0;
};

// Computes a block for a map (h, w, inputs): out (h / stride, w / stride, outputs).
template <class Number>
void run_inverted_residual(const InvertedResidual& block, const float* x, int h, int w, float* out) {
    const Depthwise conv{block.kernel, block.bias, block.side, block.stride, block.hidden, true};
    const int out_h = convolved_length(h, conv.stride), out_w = convolved_length(w, conv.stride), outputs = block.project.outputs;
    const int64_t row_floats = static_cast<int64_t>(w) * conv.channels;
    const int at_once = (NARROWED_CELLS + out_w - 1) / out_w;  // output rows per thread and chunk
    const int fitting = static_cast<int>(BAND_BYTES / (row_floats * static_cast<int64_t>(sizeof(float))));
    const int band = std::max(1, (fitting - conv.side) / conv.stride / at_once) * at_once;  // output rows
    const std::vector<float> outside(row_floats);
    WidenedRows<Number> widened(block, x, h, w, (band - 1) * conv.stride + conv.side);
    for (int top = 0; top < out_h; top += band) {
        const int bottom = std::min(top + band, out_h);
        widened.widen_until(std::min(h, (bottom - 1) * conv.stride - padding_before(conv.side, conv.stride) + conv.side));
        in_parallel((bottom - top + at_once - 1) / at_once, [&](Chunks& chunks) {
            const float* rows[LARGEST_SIDE];
            std::vector<float> convolved(static_cast<size_t>(at_once) * out_w * conv.channels);
            LayerStack<Number> project(&block.project, 1);
            for (int64_t chunk; chunks.take(chunk);) {
                const int first = top + static_cast<int>(chunk) * at_once, last = std::min(first + at_once, bottom);
                for (int y = first; y < last; y++) {
                    find_rows(conv, y, h, outside.data(), [&](int row) { return widened.at(row); }, rows);
                    convolve_row(conv, rows, w, out_w, &convolved[(y - first) * out_w * conv.channels]);
                }
                const int64_t to = static_cast<int64_t>(first) * out_w * outputs;
                project.run(convolved.data(), static_cast<int64_t>(last - first) * out_w, block.residual ? x + to : nullptr, out + to);
            }
        });
    }
}

// Computes the stem's 3 x 3 convolution at stride 2 for a planar image (3, h, w): out (h / 2, w / 2, outputs).
void run_stem(const Stem& stem, const float* image, int h, int w, float* out) {
    constexpr int COLORS = 3, SIDE = 3, PATCH = SIDE * SIDE * COLORS;
    const int out_h = convolved_length(h, 2), out_w = convolved_length(w, 2), inputs = stem.layer.inputs;
    in_parallel(out_h, [&](Chunks& chunks) {
        std::vector<float> line(static_cast<size_t>(w + 2) * COLORS), patches(static_cast<size_t>(out_w) * inputs);
        LayerStack<Float32> layer(&stem.layer, 1);
        for (int64_t y; chunks.take(y);) {
            for (int dy = 0; dy < SIDE; dy++) {
                const int64_t row = 2 * y + dy;
                for (int color = 0; color < COLORS; color++) {
                    const float* from = image + (static_cast<int64_t>(color) * h + row) * w;
                    const float scale = stem.input_scale[color], shift = stem.input_shift[color];
                    for (int x = 0; x < w; x++) line[x * COLORS + color] = row < h ? from[x] * scale + shift : 0.0f;
                }
                for (int x = 0; x < out_w; x++)
                    std::memcpy(&patches[static_cast<size_t>(x) * inputs + dy * SIDE * COLORS], &line[2 * x * COLORS], SIDE * COLORS * sizeof(float));
            }
            static_assert(PATCH <= 2 * LANES);
            layer.run(patches.data(), out_w, nullptr, out + y * out_w * stem.layer.outputs);
        }
    });
}

// Downsamples a map (h, w, channels), whose h and w are even: out (h / 2, w / 2, outputs).
template <class Number>
void run_downsampling(const Downsampling& down, const float* x, int h, int w, float* out) {
    constexpr int SIDE = 3;
    const int out_w = w / 2, channels = down.channels, inputs = down.layer.inputs, outputs = down.layer.outputs;
    const int row_floats = SIDE * channels;  // of a patch
    in_parallel(h / 2, [&](Chunks& chunks) {
        std::vector<float> patches(static_cast<size_t>(out_w) * inputs);  // the cells left of the map stay zero
        LayerStack<Number> layer(&down.layer, 1);
        for (int64_t y; chunks.take(y);) {
            for (int dy = 0; dy < SIDE; dy++) {
                const int64_t row = 2 * y - 1 + dy;
                float* patch = &patches[static_cast<size_t>(dy) * row_floats];
                for (int i = 0; i < out_w; i++, patch += inputs) {
                    const int outside = i == 0 ? 1 : 0;  // cells of the row
                    const float* from = x + (row * w + 2 * i - 1 + outside) * channels;
                    const size_t bytes = sizeof(float) * (SIDE - outside) * channels;
                    if (row < 0) std::memset(patch + outside * channels, 0, bytes);
                    else std::memcpy(patch + outside * channels, from, bytes);
                }
            }
            float* cells = out + y * out_w * outputs;
            layer.run(patches.data(), out_w, nullptr, cells);
            for (float* cell = cells; cell < cells + static_cast<int64_t>(out_w) * outputs; cell += outputs) {
                normalize(down.norm_weight, down.norm_bias, down.norm_eps, outputs, cell, cell);
                for (int c = 0; c < outputs; c += LANES)
                    store(cell + c, std::is_same_v<Number, Float32> ? gelu(load(cell + c)) : approximate_gelu(load(cell + c)));
            }
        }
    });
}

}  // namespace
