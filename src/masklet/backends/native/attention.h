// Softmax attention over packed keys and values.
//
// Keys are processed in blocks with a running maximum (arXiv 2205.14135). Logits, softmax and results are float32. Integer
// weights are quantized relative to the largest weight of their block, so that the small weights of a long memory are not
// rounded to zero beside one large weight. Each column of values is quantized relative to its largest value. There are 255
// and 127 steps in 8 bits, and 4095 and 2047 in 16 bits, which is the most for which a block's sum does not overflow.

#pragma once

#include "packing.h"

#include <limits>
#include <type_traits>
#include <utility>

namespace {

constexpr int KEY_BLOCK = 256;  // keys per block; the running maximum is updated after each
constexpr float MASKED_LOGIT = -1e4f;  // the bias of padded keys
static_assert(WeightFormat<int16_t>::STEPS * WeightFormat<int16_t>::VALUE_STEPS < std::numeric_limits<int32_t>::max() / KEY_BLOCK);

using Factors = std::pair<float, float>;  // factors of the earlier sums, and of the new terms

// The running softmax of one query.
struct Softmax {
    float maximum = -std::numeric_limits<float>::infinity(), sum = 0;

    // Computes the weights of a block of keys. Returns the factors of the earlier blocks' sums, and of this block's.
    template <class Value>
    Factors step(const float* logits, int count, typename WeightFormat<Value>::Weight* weights) {
        constexpr float STEPS = WeightFormat<Value>::STEPS;
        constexpr bool is_integer = !std::is_same_v<Value, float>;
        Floats top = set1(-std::numeric_limits<float>::infinity()), total = zero();
        for (int j = 0; j < count; j += LANES) top = max(top, load(logits + j));
        const float block_maximum = reduce_max(top);
        for (int j = 0; j < count; j += LANES) {
            const Floats below = sub(load(logits + j), set1(block_maximum));
            Floats p = is_integer ? approximate_exp(below) : exp(below);
            if constexpr (is_integer) {
                const Ints steps = to_ints(mul(p, set1(STEPS)));
                store_steps(weights + j, steps);
                p = to_floats(steps);
            } else {
                store(weights + j, p);
            }
            total = add(total, p);
        }
        const float now = std::max(maximum, block_maximum);
        const float earlier = std::exp(maximum - now), added = std::exp(block_maximum - now) / STEPS;
        sum = sum * earlier + reduce_add(total) * added;
        maximum = now;
        return {earlier, added};
    }
};

inline void add_to(float* to, Floats sum, const Factors& factor) {
    store(to, fmadd(sum, set1(factor.second), mul(load(to), set1(factor.first))));
}

// TILE_ROWS rows of weights times WIDE vectors of the values' columns.
template <int WIDE>
void sum_weighted_columns(const float* weights, const float* values, int keys, int e, const Factors* factors, float* acc) {
    Floats sums[TILE_ROWS][WIDE];
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
        for (int i = 0; i < WIDE; i++) sums[r][i] = zero();
    for (int j = 0; j < keys; j++) {
        Floats v[WIDE];
        for (int i = 0; i < WIDE; i++) v[i] = in_registers(load(values + static_cast<int64_t>(j) * e + i * LANES));
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++)
            for (int i = 0; i < WIDE; i++) sums[r][i] = fmadd(set1(weights[r * KEY_BLOCK + j]), v[i], sums[r][i]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
        for (int i = 0; i < WIDE; i++) add_to(acc + r * e + i * LANES, sums[r][i], factors[r]);
}

// acc (count, e) = acc * factors.first + weights (count, keys) @ values (keys, e) * factors.second
void sum_weighted(const float* weights, const float* values, int count, int keys, int e, const Factors* factors, float* acc) {
    for (int first = 0; first < count; first += TILE_ROWS) {
        int column = 0;
        for (; column + TILE_PANELS * LANES <= e; column += TILE_PANELS * LANES)
            sum_weighted_columns<TILE_PANELS>(weights + first * KEY_BLOCK, values + column, keys, e, factors + first, acc + first * e + column);
        for (; column < e; column += LANES)
            sum_weighted_columns<1>(weights + first * KEY_BLOCK, values + column, keys, e, factors + first, acc + first * e + column);
    }
}

// The same for integers.
template <class Value>
void sum_weighted(const typename WeightFormat<Value>::Weight* weights, const Value* values, int count, int keys, int e,
                  const Factors* factors, float* acc) {
    constexpr int GROUP = WeightFormat<Value>::GROUP;
    for (int column = 0; column < e; column += LANES) {
        for (int first = 0; first < count; first += TILE_ROWS) {
            Ints sums[TILE_ROWS];
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; r++) sums[r] = zero_ints();
            for (int j = 0; j < keys; j += GROUP) {
                const Ints v = in_registers(load_ints(values + static_cast<int64_t>(j) * e + column * GROUP));
#pragma GCC unroll 8
                for (int r = 0; r < TILE_ROWS; r++) {
                    const Ints weight = set1_ints(load_4_bytes(weights + (first + r) * KEY_BLOCK + j));
                    sums[r] = GROUP == 4 ? dot_8(sums[r], weight, v) : dot_16(sums[r], weight, v);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; r++)
                add_to(acc + (first + r) * e + column, to_floats(sums[r]), factors[first + r]);
        }
    }
}

template <class Number, class Value>
struct TypedKeys {  // KeyValues of a number type
    const typename Number::Panel* panels;
    const float *scale, *bias;
    int64_t count;
    const Value* values;
    const float* value_scale;
    int d, e;
};

template <class Number, class Value>
struct Attention {  // the workspace of one thread, for up to ROW_BLOCK queries
    RowBlock<Number> block;
    std::vector<float> logits, acc;
    std::vector<typename WeightFormat<Value>::Weight> weights;
    Factors factors[ROW_BLOCK];
    Softmax softmax[ROW_BLOCK];

    Attention(int d, int e) : block(d), logits(ROW_BLOCK * KEY_BLOCK), acc(ROW_BLOCK * e), weights(ROW_BLOCK * KEY_BLOCK) {}

    void attend(const float* q, int64_t stride, int count, float logit_scale, const float* cosines, const float* sines,
                const TypedKeys<Number, Value>& keys, float* out, int64_t out_stride) {
        const int e = keys.e;
        block.fill(q, stride, count, keys.d, cosines, sines);
        std::fill_n(softmax, ROW_BLOCK, Softmax{});
        std::fill(acc.begin(), acc.end(), 0.0f);
        for (int64_t from = 0; from < padded_rows(keys.count); from += KEY_BLOCK) {
            const int in_block = static_cast<int>(std::min<int64_t>(KEY_BLOCK, padded_rows(keys.count) - from));
            multiply(keys, from, in_block, count, logit_scale);
            for (int r = 0; r < count; r++)
                factors[r] = softmax[r].template step<Value>(&logits[r * KEY_BLOCK], in_block, &weights[r * KEY_BLOCK]);
            sum_weighted(weights.data(), keys.values + from * e, count, in_block, e, factors, acc.data());
        }
        for (int r = 0; r < count; r++)
            for (int c = 0; c < e; c++) out[r * out_stride + c] = acc[r * e + c] * keys.value_scale[c] / softmax[r].sum;
    }

  private:
    void multiply(const TypedKeys<Number, Value>& keys, int64_t from, int in_block, int count, float logit_scale) {
        const int d = keys.d;
        for (int j = 0; j < in_block; j += 2 * LANES) {
            const int64_t key = from + j;
            const Floats scale[2] = {load(keys.scale + key), load(keys.scale + key + LANES)};
            const Floats bias[2] = {load(keys.bias + key), load(keys.bias + key + LANES)};
            for (int r = 0; r < count; r += ROWS) {
                Products dots;
                Number::multiply(&block.rows[r * d], &block.sum[r], d, keys.panels + key * d, dots);
#pragma GCC unroll 8
                for (int i = 0; i < ROWS; i++)
                    for (int half = 0; half < 2; half++) {
                        const Floats size = mul(scale[half], set1(block.scale[r + i] * logit_scale));
                        store(&logits[(r + i) * KEY_BLOCK + j + half * LANES], fmadd(dots[i][half], size, bias[half]));
                    }
            }
        }
    }
};

template <class Number, class Value>
void attend_as(const Matrix& queries, float logit_scale, const Rotation* rotation, const KeyValues& untyped, float* out) {
    const TypedKeys<Number, Value> keys{static_cast<const typename Number::Panel*>(untyped.keys), untyped.key_scale, untyped.bias,
                                        untyped.count, static_cast<const Value*>(untyped.values), untyped.value_scale,
                                        queries.columns, untyped.value_width};
    in_parallel((queries.rows + ROW_BLOCK - 1) / ROW_BLOCK, [&](Chunks& chunks) {
        Attention<Number, Value> attention(keys.d, keys.e);
        for (int64_t chunk; chunks.take(chunk);) {
            const int64_t first = chunk * ROW_BLOCK, angles = first * (keys.d / 2);
            const int count = static_cast<int>(std::min<int64_t>(ROW_BLOCK, queries.rows - first));
            attention.attend(queries.data + first * queries.stride, queries.stride, count, logit_scale,
                             rotation ? rotation->cosines + angles : nullptr, rotation ? rotation->sines + angles : nullptr,
                             keys, out + first * keys.e, keys.e);
        }
    });
}

}  // namespace
