// Quantizes rows of float32 to 32, 16 or 8 bits, and multiplies them by packed panels (packing.h).
//
// 32 bits: float32, as torch computes, except for the order of sums.
// 16 bits: the step is chosen so that the longest chunk of 128 channels, as a vector, has length 46,000. Then no sum of a
//     chunk's products exceeds 31 bits (Cauchy-Schwarz). Chunks are summed in float32.
// 8 bits: 127 steps of the row's own largest value.
//
// Each number type has: Row, Panel and Value, the element types of a row, of a packed panel and of attention's values; GROUP,
// the number of contiguous channels in a panel; `quantize`, which writes a row and returns its step, and for 8 bits the sum of
// its integers; `to_panel`, which converts a row's number for the panel; `multiply`, the products of ROWS rows by two panels.

#pragma once

#include "arithmetic.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int ROWS = 8;         // rows in one step of the inner product, which uses two panels
constexpr int ROW_BLOCK = 64;   // rows per thread and chunk

using Products = Floats[ROWS][2];

// The product of ROWS rows by two panels, in parts whose sums fit into the registers.
template <class Function>
[[gnu::always_inline]] inline void for_each_part(Function part) {
    for (int left = 0; left < 2; left += TILE_PANELS)
#pragma GCC unroll 2
        for (int top = 0; top < ROWS; top += TILE_ROWS) part(top, left);
}

inline int32_t load_4_bytes(const void* at) {
    int32_t bytes;
    std::memcpy(&bytes, at, 4);
    return bytes;
}

struct Float32 {
    using Row = float;
    using Panel = float;
    using Value = float;
    static constexpr int GROUP = 1;

    static float quantize(const float* x, int d, float* out, int32_t*) {
        std::memcpy(out, x, d * sizeof(float));
        return 1.0f;
    }

    static float to_panel(float x) { return x; }

    [[gnu::always_inline]] static void multiply(const float* rows, const int32_t*, int d, const float* panel, Products out) {
        for_each_part([&](int top, int left) {
            const float* from = panel + static_cast<int64_t>(left) * d * LANES;
            Floats acc[TILE_ROWS][TILE_PANELS];
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; r++)
                for (int i = 0; i < TILE_PANELS; i++) acc[r][i] = zero();
            for (int c = 0; c < d; c++) {
                Floats k[TILE_PANELS];
                for (int i = 0; i < TILE_PANELS; i++) k[i] = in_registers(load(from + (static_cast<int64_t>(i) * d + c) * LANES));
#pragma GCC unroll 8
                for (int r = 0; r < TILE_ROWS; r++) {
                    const Floats row = set1(rows[(top + r) * d + c]);
                    for (int i = 0; i < TILE_PANELS; i++) acc[r][i] = fmadd(row, k[i], acc[r][i]);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; r++)
                for (int i = 0; i < TILE_PANELS; i++) out[top + r][left + i] = acc[r][i];
        });
    }
};

struct Int16 {
    using Row = int16_t;
    using Panel = int16_t;
    using Value = int16_t;
    static constexpr int GROUP = 2;
    static constexpr int CHUNK = 128;
    static constexpr float LENGTH = 46000.0f;

    static float quantize(const float* x, int d, int16_t* out, int32_t*) {
        float longest = 0;
        for (int begin = 0; begin < d; begin += CHUNK) {
            Floats squares = zero();
            for (int i = begin; i < std::min(begin + CHUNK, d); i += LANES) {
                const Floats row = load(x + i);
                squares = fmadd(row, row, squares);
            }
            longest = std::max(longest, reduce_add(squares));
        }
        const float factor = std::min(LENGTH / std::max(std::sqrt(longest), 1e-15f), 32766.0f / largest_magnitude(x, d));
        for (int i = 0; i < d; i += LANES) {
            const Ints steps = to_ints(mul(load(x + i), set1(factor)));
            store_16(out + i, steps);
        }
        return 1.0f / factor;
    }

    static int16_t to_panel(int16_t x) { return x; }

    [[gnu::always_inline]] static void multiply(const int16_t* rows, const int32_t*, int d, const int16_t* panel, Products out) {
        for_each_part([&](int top, int left) {
            const int16_t* from = panel + static_cast<int64_t>(left) * d * LANES;
            for (int begin = 0; begin < d; begin += CHUNK) {
                Ints acc[TILE_ROWS][TILE_PANELS];
#pragma GCC unroll 8
                for (int r = 0; r < TILE_ROWS; r++)
                    for (int i = 0; i < TILE_PANELS; i++) acc[r][i] = zero_ints();
                for (int c = begin; c < std::min(begin + CHUNK, d); c += 2) {
                    Ints k[TILE_PANELS];
                    for (int i = 0; i < TILE_PANELS; i++) k[i] = in_registers(load_ints(from + (static_cast<int64_t>(i) * d + c) * LANES));
#pragma GCC unroll 8
                    for (int r = 0; r < TILE_ROWS; r++) {
                        const Ints row = set1_ints(load_4_bytes(rows + (top + r) * d + c));
                        for (int i = 0; i < TILE_PANELS; i++) acc[r][i] = dot_16(acc[r][i], k[i], row);
                    }
                }
#pragma GCC unroll 8
                for (int r = 0; r < TILE_ROWS; r++)
                    for (int i = 0; i < TILE_PANELS; i++) {
                        const Floats sum = to_floats(acc[r][i]);
                        Floats& to = out[top + r][left + i];
                        to = begin ? add(to, sum) : sum;
                    }
            }
        });
    }
};

struct Int8 {
    using Row = int8_t;
    using Panel = uint8_t;
    using Value = int8_t;
    static constexpr int GROUP = 4;

    static float quantize(const float* x, int d, int8_t* out, int32_t* sum) {
        const float most = largest_magnitude(x, d);
        Ints total = zero_ints();
        for (int i = 0; i < d; i += LANES) {
            const Ints steps = to_ints(mul(load(x + i), set1(127.0f / most)));
            total = add(total, steps);
            store_8(out + i, steps);
        }
        *sum = reduce_add(total);
        return most / 127.0f;
    }

    // One operand of the instruction is unsigned: panels have an offset of 128, which the rows' sums correct.
    static uint8_t to_panel(int8_t x) { return static_cast<uint8_t>(x + 128); }

    [[gnu::always_inline]] static void multiply(const int8_t* rows, const int32_t* sums, int d, const uint8_t* panel, Products out) {
        for_each_part([&](int top, int left) {
            const uint8_t* from = panel + static_cast<int64_t>(left) * d * LANES;
            Ints acc[TILE_ROWS][TILE_PANELS];
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; r++)
                for (int i = 0; i < TILE_PANELS; i++) acc[r][i] = set1_ints(-128 * sums[top + r]);
            for (int c = 0; c < d; c += 4) {
                Ints k[TILE_PANELS];
                for (int i = 0; i < TILE_PANELS; i++) k[i] = in_registers(load_ints(from + (static_cast<int64_t>(i) * d + c) * LANES));
#pragma GCC unroll 8
                for (int r = 0; r < TILE_ROWS; r++) {
                    const Ints row = set1_ints(load_4_bytes(rows + (top + r) * d + c));
                    for (int i = 0; i < TILE_PANELS; i++) acc[r][i] = dot_8(acc[r][i], k[i], row);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; r++)
                for (int i = 0; i < TILE_PANELS; i++) out[top + r][left + i] = to_floats(acc[r][i]);
        });
    }
};

// Rotates neighbouring pairs of channels by the angles of a row (rotary position embedding).
void rotate_row(const float* x, const float* cosines, const float* sines, int d, float* out) {
    for (int i = 0; i < d / 2; i++) {
        const float even = x[2 * i], odd = x[2 * i + 1];
        out[2 * i] = even * cosines[i] - odd * sines[i];
        out[2 * i + 1] = even * sines[i] + odd * cosines[i];
    }
}

template <class Number>
struct RowBlock {  // up to BLOCK quantized rows: queries, or inputs of a layer
    std::vector<typename Number::Row> rows;
    float scale[ROW_BLOCK];
    int32_t sum[ROW_BLOCK];
    std::vector<float> rotated;

    explicit RowBlock(int d) : rows(ROW_BLOCK * d), rotated(d) {}

    void fill(const float* x, int64_t stride, int count, int d, const float* cosines, const float* sines) {
        for (int r = 0; r < count; r++) {
            const float* row = x + r * stride;
            if (cosines) {
                rotate_row(row, cosines + r * (d / 2), sines + r * (d / 2), d, rotated.data());
                row = rotated.data();
            }
            scale[r] = Number::quantize(row, d, &rows[r * d], &sum[r]);
        }
        for (int r = count; r % ROWS; r++) {
            scale[r] = 0, sum[r] = 0;
            std::fill_n(&rows[r * d], d, 0);
        }
    }
};

}  // namespace
