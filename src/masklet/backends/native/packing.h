// The layout of packed keys, layers and values.
//
// PANELS (keys, and the weights of layers). A matrix of m rows and d channels is cut into panels of LANES = 16 rows, so that
// one register holds a channel of sixteen rows. Within a panel, channels follow one another, and the sixteen rows of a
// channel are contiguous:
//
//     32 bits   panel p, channel c:   x[16p][c]  x[16p+1][c]  ...  x[16p+15][c]            16 floats
//     16 bits   channels in pairs:    x[16p][c]  x[16p][c+1]  x[16p+1][c]  x[16p+1][c+1]   32 int16: 16 lanes of two
//      8 bits   channels in fours:    x[16p][c..c+3]  x[16p+1][c..c+3]  ...                64 uint8: 16 lanes of four
//
// so the index of element (row, c) is
//
//     (row / 16) * 16 * d  +  (c / GROUP) * 16 * GROUP  +  (row % 16) * GROUP  +  c % GROUP,     GROUP = 1, 2, 4
//
// GROUP is the number of products that one instruction sums per lane (fma, vpdpwssd, vpdpbusd). The kernel broadcasts GROUP
// channels of one query and multiplies them by a register of the panel, which adds to sixteen dot products at once. The sums
// of a tile of TILE_ROWS queries by TILE_PANELS panels (simd.h) stay in registers over all channels. d is a multiple of 16.
// m is padded to a multiple of 32 (two panels) with zeros of scale 0; attention excludes padded keys by a bias of -1e4.
//
// Each row has a scale, its quantization step: the product of row i and key j is sum * scale_i * scale_j. In 8 bits, panels
// are unsigned (x + 128), because vpdpbusd needs one unsigned operand; 128 times the sum of the other row is subtracted.
//
// VALUES (m keys, e columns). A query's weight is multiplied by the whole row of a key. In 32 bits, values are plain rows. In
// integers, the values of 2 (16 bits) or 4 (8 bits) neighbouring keys are contiguous for each column,
//
//     (key / GROUP) * GROUP * e  +  column * GROUP  +  key % GROUP
//
// so that one instruction sums over GROUP keys. Each column has its own scale. Keys are padded with zeros to 32 here, too.
//
// CONVOLUTIONS (convolutions.h). A map is (h, w, channels) with contiguous channels, padded with zeros to a multiple of LANES,
// so 24 channels take 32 floats per cell. A pointwise convolution is a layer over cells, packed in panels as above. Rows of
// zeros in its weight and bias pad its outputs, so that the padding of the next map is zero again. The stem's weight is a
// layer, too, with its 27 inputs in the order (row, column, colour), padded to 32. A depthwise kernel is not packed in panels,
// because nothing is summed over channels: it is (side, side, channels) in float32,
//
//     (dy * side + dx) * channels  +  channel
//
// so that one register holds a tap of sixteen channels, and all side * side taps stay in registers along a row.

#pragma once

#include "arguments.h"
#include "quantize.h"
#include "threads.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

constexpr int PANEL_PAIR = 2 * LANES;  // numbers of rows are padded to multiples of this
constexpr int PACKED_ROWS = 64;        // rows per thread and chunk

inline int64_t padded_rows(int64_t count) { return (count + PANEL_PAIR - 1) / PANEL_PAIR * PANEL_PAIR; }

template <class Number>
struct PanelWriter {
    int d;
    std::vector<typename Number::Row> quantized;

    explicit PanelWriter(int d) : d(d), quantized(d) {}

    // Writes one row of a panel; x is null for padding.
    void write(const float* x, int64_t row, typename Number::Panel* panels, float* scale) {
        constexpr int GROUP = Number::GROUP;
        int32_t sum;
        if (!x) std::fill(quantized.begin(), quantized.end(), 0);
        scale[row] = x ? Number::quantize(x, d, quantized.data(), &sum) : 0.0f;
        auto* to = panels + row / LANES * LANES * d + row % LANES * GROUP;
        for (int c = 0; c < d; c += GROUP)
            for (int i = 0; i < GROUP; i++) to[c * LANES + i] = Number::to_panel(quantized[c + i]);
    }
};

// Packs all rows. The first `rotated` of them are rotated before; the angles are repeated as often as needed.
template <class Number>
void pack_panels(const Matrix& x, const Rotation* rotation, int64_t rotated, void* panels, float* scale) {
    const int d = x.columns;
    in_parallel(padded_rows(x.rows) / PANEL_PAIR, [&](Chunks& chunks) {
        std::vector<float> turned(d);
        PanelWriter<Number> writer(d);
        for (int64_t chunk; chunks.take(chunk);)
            for (int64_t row = chunk * PANEL_PAIR; row < (chunk + 1) * PANEL_PAIR; row++) {
                const float* from = row < x.rows ? x.data + row * x.stride : nullptr;
                if (rotation && row < std::min(x.rows, rotated)) {
                    const int64_t angles = row % rotation->count * (d / 2);
                    rotate_row(from, rotation->cosines + angles, rotation->sines + angles, d, turned.data());
                    from = turned.data();
                }
                writer.write(from, row, static_cast<typename Number::Panel*>(panels), scale);
            }
    });
}

// For values of each number type: the type of attention weights, the numbers of steps, and the keys whose values are contiguous.
template <class Value>
struct WeightFormat;
template <>
struct WeightFormat<float> {
    using Weight = float;
    static constexpr float STEPS = 1;
};
template <>
struct WeightFormat<int16_t> {
    using Weight = int16_t;
    static constexpr float STEPS = 4095, VALUE_STEPS = 2047;
    static constexpr int GROUP = 2;
};
template <>
struct WeightFormat<int8_t> {
    using Weight = uint8_t;
    static constexpr float STEPS = 255, VALUE_STEPS = 127;
    static constexpr int GROUP = 4;
};

// Packs values as integers.
template <class Value>
void pack_value_groups(const Matrix& x, Value* groups, float* scale) {
    constexpr int GROUP = WeightFormat<Value>::GROUP;
    const int e = x.columns;
    std::vector<float> factor(e, 1e-12f);
    for (int64_t row = 0; row < x.rows; row++)
        for (int c = 0; c < e; c++) factor[c] = std::max(factor[c], std::fabs(x.data[row * x.stride + c]));
    for (int c = 0; c < e; c++) {
        scale[c] = factor[c] / WeightFormat<Value>::VALUE_STEPS;
        factor[c] = 1.0f / scale[c];
    }
    const int64_t padded = padded_rows(x.rows);
    in_parallel((padded + PACKED_ROWS - 1) / PACKED_ROWS, [&](Chunks& chunks) {
        for (int64_t chunk; chunks.take(chunk);)
            for (int64_t row = chunk * PACKED_ROWS; row < std::min(padded, (chunk + 1) * PACKED_ROWS); row++) {
                const float* from = x.data + row * x.stride;
                Value* to = groups + row / GROUP * GROUP * e + row % GROUP;
                for (int c = 0; c < e; c++)
                    to[c * GROUP] = row < x.rows ? static_cast<Value>(std::lrint(from[c] * factor[c])) : 0;
            }
    });
}

}  // namespace
