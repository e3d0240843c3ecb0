// Attention, linear layers, Hiera's windowed blocks and the decoder's upscaling for CPUs with AVX2 or AVX512-VNNI, on
// numbers of 32, 16 or 8 bits.
//
// 32 bits: float32, as torch computes, but for the order of sums.
// 16 bits: rows become integers when they arrive. A step is so small that the longest chunk of 128 channels has length
//     46,000, so no sum of a chunk's products exceeds 31 bits (Cauchy-Schwarz); chunks are summed in float32.
// 8 bits: rows become integers of 127 steps of their own largest value.
//
// Logits, softmax and results are float32 throughout. Attention goes through the keys in blocks with a running maximum
// (arXiv 2205.14135). Beside integers a block's weights are steps of its largest, so that the small weights of a long memory
// are not lost beside one large one, and a column of values is steps of its own largest: 255 and 127 in 8 bits, 4095 and
// 2047 in 16, which is as much as the sum of a block's products holds.
//
// Built and called by kernels.py. Channels must come in multiples of 16.

#include "simd.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

// A panel holds LANES keys, or outputs, channel by channel.
constexpr int ROWS = 8;    // queries in one step of the inner product, which takes two panels
constexpr int BLOCK = 64;  // queries that one thread takes at a time
constexpr int KEYS = 256;  // keys between two corrections of the running maximum
constexpr float NOT_THERE = -1e4f;  // what is added to the logits of keys that only fill up

// How weights are kept beside values of each kind, in how many steps, and how many keys' values lie together.
template <class Value>
struct Weighing;
template <>
struct Weighing<float> {
    using Weight = float;
    static constexpr float STEPS = 1;
};
template <>
struct Weighing<int16_t> {
    using Weight = int16_t;
    static constexpr float STEPS = 4095, VALUES = 2047;
    static constexpr int TOGETHER = 2;
};
template <>
struct Weighing<int8_t> {
    using Weight = uint8_t;
    static constexpr float STEPS = 255, VALUES = 127;
    static constexpr int TOGETHER = 4;
};
static_assert(Weighing<int16_t>::STEPS * Weighing<int16_t>::VALUES < std::numeric_limits<int32_t>::max() / KEYS);

using Products = Floats[ROWS][2];

inline Floats exponential(Floats x) {  // for -1e4 <= x <= 0, which is what softmax needs; relative error below 3e-7
    const Floats whole = rounded(times(x, all(1.44269504f)));
    const Floats f = times_plus(x, all(1.925963e-8f), times_minus(x, all(1.44269502f), whole));
    Floats p = all(1.5252734e-5f);
    for (const float each : {1.5403530e-4f, 1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f})
        p = times_plus(p, f, all(each));
    return to_the_power(p, whole);
}

inline Floats rough_exponential(Floats x) {  // the same with a relative error below 2e-4, beside integers
    const Floats whole = rounded(times(x, all(1.44269504f)));
    const Floats f = times_minus(x, all(1.44269504f), whole);
    Floats p = all(5.6171544e-2f);
    for (const float each : {2.4223951e-1f, 6.9313675e-1f, 9.9992520e-1f}) p = times_plus(p, f, all(each));
    return to_the_power(p, whole);
}

inline Floats gelu(Floats x) {  // through erf, Abramowitz and Stegun 7.1.26
    const Floats z = magnitude(times(x, all(0.70710678f)));
    const Floats t = over(all(1.0f), times_plus(z, all(0.3275911f), all(1.0f)));
    Floats p = all(1.061405429f);
    for (const float each : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
        p = times_plus(p, t, all(each));
    const Floats exponent = larger(minus(zeros(), times(z, z)), all(-87.0f));
    const Floats tail = times(times(p, t), exponential(exponent));
    const Floats erf = minus(all(1.0f), tail);  // of |x| / sqrt 2
    const Floats half = times(x, all(0.5f));
    return times_plus(magnitude(half), erf, half);
}

inline Floats rough_gelu(Floats x) {  // x times its share of the normal distribution, to 5e-5, beside integers
    const Floats z = smaller(larger(x, all(-4.3f)), all(4.3f)), square = times(z, z);
    Floats p = all(5.1611264e-11f);
    for (const float each : {-5.0362908e-09f, 2.1692756e-07f, -5.4922028e-06f, 9.223705e-05f, -0.0011027155f, 0.0098008142f, -0.066327102f, 0.39889663f})
        p = times_plus(p, square, all(each));
    return times(x, times_plus(p, z, all(0.5f)));
}

inline float largest(const float* x, int d) {
    Floats most = zeros();
    for (int i = 0; i < d; i += LANES) most = larger(most, magnitude(load(x + i)));
    return std::max(largest_of(most), 1e-30f);
}

// The product of ROWS rows with two panels, in parts whose sums fit into the registers.
template <class Function>
[[gnu::always_inline]] inline void for_each_part(Function part) {
    for (int left = 0; left < 2; left += BROAD)
#pragma GCC unroll 2
        for (int top = 0; top < ROWS; top += TALL) part(top, left);
}

inline int32_t four_bytes(const void* at) {
    int32_t bytes;
    std::memcpy(&bytes, at, 4);
    return bytes;
}

// Each kind of number says how a row is kept, how many of its channels lie together in a panel, and how ROWS rows are
// multiplied with two panels. `keep` returns what products are to be multiplied by; `sum` is the sum of an integer row.

struct Float32 {
    using Row = float;
    using Panel = float;
    using Value = float;
    static constexpr int TOGETHER = 1;

    static float keep(const float* x, int d, float* out, int32_t*) {
        std::memcpy(out, x, d * sizeof(float));
        return 1.0f;
    }

    static float panelled(float x) { return x; }

    [[gnu::always_inline]] static void multiply(const float* rows, const int32_t*, int d, const float* panel, Products out) {
        for_each_part([&](int top, int left) {
            const float* from = panel + static_cast<int64_t>(left) * d * LANES;
            Floats acc[TALL][BROAD];
#pragma GCC unroll 8
            for (int r = 0; r < TALL; r++)
                for (int i = 0; i < BROAD; i++) acc[r][i] = zeros();
            for (int c = 0; c < d; c++) {
                Floats k[BROAD];
                for (int i = 0; i < BROAD; i++) k[i] = held(load(from + (static_cast<int64_t>(i) * d + c) * LANES));
#pragma GCC unroll 8
                for (int r = 0; r < TALL; r++) {
                    const Floats each = all(rows[(top + r) * d + c]);
                    for (int i = 0; i < BROAD; i++) acc[r][i] = times_plus(each, k[i], acc[r][i]);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < TALL; r++)
                for (int i = 0; i < BROAD; i++) out[top + r][left + i] = acc[r][i];
        });
    }
};

struct Int16 {
    using Row = int16_t;
    using Panel = int16_t;
    using Value = int16_t;
    static constexpr int TOGETHER = 2;
    static constexpr int CHUNK = 128;
    static constexpr float LENGTH = 46000.0f;

    static float keep(const float* x, int d, int16_t* out, int32_t*) {
        float longest = 0;
        for (int begin = 0; begin < d; begin += CHUNK) {
            Floats squares = zeros();
            for (int i = begin; i < std::min(begin + CHUNK, d); i += LANES) {
                const Floats each = load(x + i);
                squares = times_plus(each, each, squares);
            }
            longest = std::max(longest, sum_of(squares));
        }
        const float factor = std::min(LENGTH / std::max(std::sqrt(longest), 1e-15f), 32766.0f / largest(x, d));
        for (int i = 0; i < d; i += LANES) {
            const Ints steps = to_ints(times(load(x + i), all(factor)));
            store_16(out + i, steps);
        }
        return 1.0f / factor;
    }

    static int16_t panelled(int16_t x) { return x; }

    [[gnu::always_inline]] static void multiply(const int16_t* rows, const int32_t*, int d, const int16_t* panel, Products out) {
        for_each_part([&](int top, int left) {
            const int16_t* from = panel + static_cast<int64_t>(left) * d * LANES;
            for (int begin = 0; begin < d; begin += CHUNK) {
                Ints acc[TALL][BROAD];
#pragma GCC unroll 8
                for (int r = 0; r < TALL; r++)
                    for (int i = 0; i < BROAD; i++) acc[r][i] = no_ints();
                for (int c = begin; c < std::min(begin + CHUNK, d); c += 2) {
                    Ints k[BROAD];
                    for (int i = 0; i < BROAD; i++) k[i] = held(load_ints(from + (static_cast<int64_t>(i) * d + c) * LANES));
#pragma GCC unroll 8
                    for (int r = 0; r < TALL; r++) {
                        const Ints each = all_ints(four_bytes(rows + (top + r) * d + c));
                        for (int i = 0; i < BROAD; i++) acc[r][i] = dot_16(acc[r][i], k[i], each);
                    }
                }
#pragma GCC unroll 8
                for (int r = 0; r < TALL; r++)
                    for (int i = 0; i < BROAD; i++) {
                        const Floats sum = to_floats(acc[r][i]);
                        Floats& to = out[top + r][left + i];
                        to = begin ? plus(to, sum) : sum;
                    }
            }
        });
    }
};

struct Int8 {
    using Row = int8_t;
    using Panel = uint8_t;
    using Value = int8_t;
    static constexpr int TOGETHER = 4;

    static float keep(const float* x, int d, int8_t* out, int32_t* sum) {
        const float most = largest(x, d);
        Ints total = no_ints();
        for (int i = 0; i < d; i += LANES) {
            const Ints steps = to_ints(times(load(x + i), all(127.0f / most)));
            total = plus(total, steps);
            store_8(out + i, steps);
        }
        *sum = sum_of(total);
        return most / 127.0f;
    }

    // The instruction wants one side without signs: panels carry an offset, which the rows' sums take back.
    static uint8_t panelled(int8_t x) { return static_cast<uint8_t>(x + 128); }

    [[gnu::always_inline]] static void multiply(const int8_t* rows, const int32_t* sums, int d, const uint8_t* panel, Products out) {
        for_each_part([&](int top, int left) {
            const uint8_t* from = panel + static_cast<int64_t>(left) * d * LANES;
            Ints acc[TALL][BROAD];
#pragma GCC unroll 8
            for (int r = 0; r < TALL; r++)
                for (int i = 0; i < BROAD; i++) acc[r][i] = all_ints(-128 * sums[top + r]);
            for (int c = 0; c < d; c += 4) {
                Ints k[BROAD];
                for (int i = 0; i < BROAD; i++) k[i] = held(load_ints(from + (static_cast<int64_t>(i) * d + c) * LANES));
#pragma GCC unroll 8
                for (int r = 0; r < TALL; r++) {
                    const Ints each = all_ints(four_bytes(rows + (top + r) * d + c));
                    for (int i = 0; i < BROAD; i++) acc[r][i] = dot_8(acc[r][i], k[i], each);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < TALL; r++)
                for (int i = 0; i < BROAD; i++) out[top + r][left + i] = to_floats(acc[r][i]);
        });
    }
};

// Turn neighbouring pairs of channels by the row's angles.
void turn_row(const float* x, const float* cosines, const float* sines, int d, float* out) {
    for (int i = 0; i < d / 2; i++) {
        const float even = x[2 * i], odd = x[2 * i + 1];
        out[2 * i] = even * cosines[i] - odd * sines[i];
        out[2 * i + 1] = even * sines[i] + odd * cosines[i];
    }
}

template <class Number>
struct Block {  // of rows: queries, or what goes through a layer
    std::vector<typename Number::Row> rows;
    float scale[BLOCK];
    int32_t sum[BLOCK];
    std::vector<float> turned;

    explicit Block(int d) : rows(BLOCK * d), turned(d) {}

    void fill(const float* x, int64_t stride, int count, int d, const float* cosines, const float* sines) {
        for (int r = 0; r < count; r++) {
            const float* row = x + r * stride;
            if (cosines) {
                turn_row(row, cosines + r * (d / 2), sines + r * (d / 2), d, turned.data());
                row = turned.data();
            }
            scale[r] = Number::keep(row, d, &rows[r * d], &sum[r]);
        }
        for (int r = count; r % ROWS; r++) {
            scale[r] = 0, sum[r] = 0;
            std::fill_n(&rows[r * d], d, 0);
        }
    }
};

// Weights of one query for a block of keys, for values of a kind. Returns what the results of the blocks before, and of
// this one, are to be multiplied by.
struct Softmax {
    float maximum = -std::numeric_limits<float>::infinity(), sum = 0;

    template <class Value>
    std::pair<float, float> step(const float* logits, int count, typename Weighing<Value>::Weight* weights) {
        constexpr float STEPS = Weighing<Value>::STEPS;
        constexpr bool whole = !std::is_same_v<Value, float>;
        Floats top = all(-std::numeric_limits<float>::infinity()), total = zeros();
        for (int j = 0; j < count; j += LANES) top = larger(top, load(logits + j));
        const float here = largest_of(top);
        for (int j = 0; j < count; j += LANES) {
            const Floats below = minus(load(logits + j), all(here));
            Floats p = whole ? rough_exponential(below) : exponential(below);
            if constexpr (whole) {
                const Ints steps = to_ints(times(p, all(STEPS)));
                store_whole(weights + j, steps);
                p = to_floats(steps);
            } else {
                store(weights + j, p);
            }
            total = plus(total, p);
        }
        const float now = std::max(maximum, here);
        const float old = std::exp(maximum - now), fresh = std::exp(here - now) / STEPS;
        sum = sum * old + sum_of(total) * fresh;
        maximum = now;
        return {old, fresh};
    }
};

using Factors = std::pair<float, float>;  // of what was summed before, and of what comes to it

inline void add_to(float* to, Floats sum, const Factors& by) {
    store(to, times_plus(sum, all(by.second), times(load(to), all(by.first))));
}

// TALL rows of weights with WIDE vectors of the values' columns.
template <int WIDE>
void weigh_columns(const float* weights, const float* values, int keys, int e, const Factors* by, float* acc) {
    Floats sums[TALL][WIDE];
#pragma GCC unroll 8
    for (int r = 0; r < TALL; r++)
        for (int i = 0; i < WIDE; i++) sums[r][i] = zeros();
    for (int j = 0; j < keys; j++) {
        Floats v[WIDE];
        for (int i = 0; i < WIDE; i++) v[i] = held(load(values + static_cast<int64_t>(j) * e + i * LANES));
#pragma GCC unroll 8
        for (int r = 0; r < TALL; r++)
            for (int i = 0; i < WIDE; i++) sums[r][i] = times_plus(all(weights[r * KEYS + j]), v[i], sums[r][i]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < TALL; r++)
        for (int i = 0; i < WIDE; i++) add_to(acc + r * e + i * LANES, sums[r][i], by[r]);
}

// acc (count, e) = acc * by.first + weights (count, keys) @ values (keys, e) * by.second
void weigh(const float* weights, const float* values, int count, int keys, int e, const Factors* by, float* acc) {
    for (int first = 0; first < count; first += TALL) {
        int column = 0;
        for (; column + BROAD * LANES <= e; column += BROAD * LANES)
            weigh_columns<BROAD>(weights + first * KEYS, values + column, keys, e, by + first, acc + first * e + column);
        for (; column < e; column += LANES)
            weigh_columns<1>(weights + first * KEYS, values + column, keys, e, by + first, acc + first * e + column);
    }
}

// The same in integers; a few keys' values lie together.
template <class Value>
void weigh(const typename Weighing<Value>::Weight* weights, const Value* values, int count, int keys, int e,
           const Factors* by, float* acc) {
    constexpr int TOGETHER = Weighing<Value>::TOGETHER;
    for (int column = 0; column < e; column += LANES) {
        for (int first = 0; first < count; first += TALL) {
            Ints sums[TALL];
#pragma GCC unroll 8
            for (int r = 0; r < TALL; r++) sums[r] = no_ints();
            for (int j = 0; j < keys; j += TOGETHER) {
                const Ints v = held(load_ints(values + static_cast<int64_t>(j) * e + column * TOGETHER));
#pragma GCC unroll 8
                for (int r = 0; r < TALL; r++) {
                    const Ints each = all_ints(four_bytes(weights + (first + r) * KEYS + j));
                    sums[r] = TOGETHER == 4 ? dot_8(sums[r], each, v) : dot_16(sums[r], each, v);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < TALL; r++)
                add_to(acc + (first + r) * e + column, to_floats(sums[r]), by[first + r]);
        }
    }
}

int64_t padded(int64_t count) { return (count + 2 * LANES - 1) / (2 * LANES) * (2 * LANES); }

template <class Number>
struct Packer {  // of keys, or of a layer's weight, row by row
    int d;
    std::vector<typename Number::Row> kept;

    explicit Packer(int d) : d(d), kept(d) {}

    // Without a row, for what only fills up.
    void put(const float* x, int64_t row, typename Number::Panel* panels, float* scale) {
        constexpr int TOGETHER = Number::TOGETHER;
        int32_t sum;
        if (!x) std::fill(kept.begin(), kept.end(), 0);
        scale[row] = x ? Number::keep(x, d, kept.data(), &sum) : 0.0f;
        auto* to = panels + row / LANES * LANES * d + row % LANES * TOGETHER;
        for (int c = 0; c < d; c += TOGETHER)
            for (int i = 0; i < TOGETHER; i++) to[c * LANES + i] = Number::panelled(kept[c + i]);
    }
};

template <class Number>
void pack(const float* x, int64_t stride, int64_t m, int d, const float* cosines, const float* sines, int64_t angles,
          int64_t placed, void* panels, float* scale) {
#pragma omp parallel
    {
        std::vector<float> turned(d);
        Packer<Number> packer(d);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < padded(m); row++) {
            const float* from = row < m ? x + row * stride : nullptr;
            if (cosines && row < std::min(m, placed)) {
                const int64_t at = row % angles * (d / 2);
                turn_row(from, cosines + at, sines + at, d, turned.data());
                from = turned.data();
            }
            packer.put(from, row, static_cast<typename Number::Panel*>(panels), scale);
        }
    }
}

template <class Number, class Value>
struct Keys {  // packed, with their values; bias is added to logits
    const typename Number::Panel* panels;
    const float *scale, *bias;
    int64_t m;
    const Value* values;
    const float* value_scale;
    int d, e;
};

template <class Number, class Value>
struct Attention {  // of up to BLOCK queries; what one thread needs for it
    Block<Number> block;
    std::vector<float> logits, acc;
    std::vector<typename Weighing<Value>::Weight> weights;
    Factors factors[BLOCK];
    Softmax softmax[BLOCK];

    Attention(int d, int e) : block(d), logits(BLOCK * KEYS), acc(BLOCK * e), weights(BLOCK * KEYS) {}

    void look(const float* q, int64_t stride, int count, float by, const float* cosines, const float* sines,
              const Keys<Number, Value>& keys, float* out, int64_t out_stride) {
        const int e = keys.e;
        block.fill(q, stride, count, keys.d, cosines, sines);
        std::fill_n(softmax, BLOCK, Softmax{});
        std::fill(acc.begin(), acc.end(), 0.0f);
        for (int64_t from = 0; from < padded(keys.m); from += KEYS) {
            const int there = static_cast<int>(std::min<int64_t>(KEYS, padded(keys.m) - from));
            multiply(keys, from, there, count, by);
            for (int r = 0; r < count; r++)
                factors[r] = softmax[r].template step<Value>(&logits[r * KEYS], there, &weights[r * KEYS]);
            weigh(weights.data(), keys.values + from * e, count, there, e, factors, acc.data());
        }
        for (int r = 0; r < count; r++)
            for (int c = 0; c < e; c++) out[r * out_stride + c] = acc[r * e + c] * keys.value_scale[c] / softmax[r].sum;
    }

  private:
    void multiply(const Keys<Number, Value>& keys, int64_t from, int there, int count, float by) {
        const int d = keys.d;
        for (int j = 0; j < there; j += 2 * LANES) {
            const int64_t key = from + j;
            const Floats scale[2] = {load(keys.scale + key), load(keys.scale + key + LANES)};
            const Floats add[2] = {load(keys.bias + key), load(keys.bias + key + LANES)};
            for (int r = 0; r < count; r += ROWS) {
                Products dots;
                Number::multiply(&block.rows[r * d], &block.sum[r], d, keys.panels + key * d, dots);
#pragma GCC unroll 8
                for (int i = 0; i < ROWS; i++)
                    for (int half = 0; half < 2; half++) {
                        const Floats size = times(scale[half], all(block.scale[r + i] * by));
                        store(&logits[(r + i) * KEYS + j + half * LANES],
                                         times_plus(dots[i][half], size, add[half]));
                    }
            }
        }
    }
};

template <class Number, class Value>
void attend_as(const float* q, int64_t stride, int64_t n, float by, const float* cosines, const float* sines,
               const Keys<Number, Value>& keys, float* out) {
#pragma omp parallel
    {
        Attention<Number, Value> attention(keys.d, keys.e);
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < n; first += BLOCK) {
            const int count = static_cast<int>(std::min<int64_t>(BLOCK, n - first));
            const int64_t at = first * (keys.d / 2);
            attention.look(q + first * stride, stride, count, by, cosines ? cosines + at : nullptr,
                           cosines ? sines + at : nullptr, keys, out + first * keys.e, keys.e);
        }
    }
}

struct Layer {  // packed; bias is as long as the panels are wide
    const void* weight;
    const float* scale;
    const float* bias;
    const float *norm_weight, *norm_bias;  // of the layer norm before it; null where there is none
    float eps;
    int inputs, outputs, activation;  // 0 none, 1 ReLU, 2 GELU
};

void normalise(const Layer& layer, const float* x, float* out) {
    const int d = layer.inputs;
    Floats sum = zeros(), squares = zeros();
    for (int i = 0; i < d; i += LANES) sum = plus(sum, load(x + i));
    const Floats mean = all(sum_of(sum) / d);
    for (int i = 0; i < d; i += LANES) {
        const Floats off = minus(load(x + i), mean);
        squares = times_plus(off, off, squares);
    }
    const Floats factor = all(1.0f / std::sqrt(sum_of(squares) / d + layer.eps));
    for (int i = 0; i < d; i += LANES) {
        const Floats off = times(minus(load(x + i), mean), factor);
        store(out + i, times_plus(off, load(layer.norm_weight + i), load(layer.norm_bias + i)));
    }
}

template <class Number>
struct Layers {  // one after the other; what one thread needs for them
    const Layer* layers;
    int number;
    std::vector<Block<Number>> blocks;
    std::vector<std::vector<float>> normal, between;

    Layers(const Layer* layers, int number) : layers(layers), number(number) {
        for (int i = 0; i < number; i++) {
            blocks.emplace_back(layers[i].inputs);
            normal.emplace_back(layers[i].norm_weight ? BLOCK * layers[i].inputs : 0);
            between.emplace_back(i + 1 < number ? BLOCK * layers[i].outputs : 0);
        }
    }

    // out (n, outputs) = the last layer's, and what is added where there is something.
    void run(const float* x, int64_t n, const float* added, float* out) {
        const int inputs = layers[0].inputs, outputs = layers[number - 1].outputs;
        for (int64_t first = 0; first < n; first += BLOCK) {
            const int count = static_cast<int>(std::min<int64_t>(BLOCK, n - first));
            const float* from = x + first * inputs;
            for (int i = 0; i < number; i++) {
                const bool last = i + 1 == number;
                float* to = last ? out + first * outputs : between[i].data();
                apply(i, from, count, last && added ? added + first * outputs : nullptr, to);
                from = to;
            }
        }
    }

  private:
    void apply(int i, const float* x, int count, const float* added, float* out) {
        const Layer& layer = layers[i];
        Block<Number>& block = blocks[i];
        const auto* panels = static_cast<const typename Number::Panel*>(layer.weight);
        const int inputs = layer.inputs, outputs = layer.outputs;
        if (layer.norm_weight) {
            for (int r = 0; r < count; r++) normalise(layer, x + r * inputs, &normal[i][r * inputs]);
            x = normal[i].data();
        }
        block.fill(x, inputs, count, inputs, nullptr, nullptr);
        for (int o = 0; o < outputs; o += 2 * LANES) {
            const int halves = o + LANES < outputs ? 2 : 1;
            for (int r = 0; r < count; r += ROWS) {
                Products dots;
                Number::multiply(&block.rows[r * inputs], &block.sum[r], inputs, panels + static_cast<int64_t>(o) * inputs, dots);
                for (int j = 0; j < ROWS && r + j < count; j++)
                    for (int half = 0; half < halves; half++) {
                        const int at = o + half * LANES, to = (r + j) * outputs + at;
                        const Floats size = times(load(layer.scale + at), all(block.scale[r + j]));
                        Floats y = times_plus(dots[j][half], size, load(layer.bias + at));
                        if (layer.activation == 1) y = larger(y, zeros());
                        if (layer.activation == 2) y = std::is_same_v<Number, Float32> ? gelu(y) : rough_gelu(y);
                        if (added) y = plus(y, load(added + to));
                        store(out + to, y);
                    }
            }
        }
    }
};

template <class Number>
void through(const Layer* layers, int number, const float* x, int64_t n, const float* added, float* out) {
    const int inputs = layers[0].inputs, outputs = layers[number - 1].outputs;
#pragma omp parallel
    {
        Layers<Number> mine(layers, number);
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < n; first += BLOCK)
            mine.run(x + first * inputs, std::min<int64_t>(BLOCK, n - first), added ? added + first * outputs : nullptr,
                     out + first * outputs);
    }
}

struct Hiera {  // a block of it whose attention stays within windows
    Layer shortcut, qkv, out, mlp[2];
    int heads, side;
    int step;  // 2 where squares of four cells become one, whose query and shortcut are their largest; else 1, and no shortcut
    float by;  // what logits are multiplied by
};

// The largest of every four rows.
void pool(const float* x, int64_t stride, int64_t n, int d, float* out) {
    for (int64_t r = 0; r < n; r++, x += 4 * stride, out += d)
        for (int i = 0; i < d; i += LANES) {
            const Floats a = larger(load(x + i), load(x + stride + i));
            const Floats b = larger(load(x + 2 * stride + i), load(x + 3 * stride + i));
            store(out + i, larger(a, b));
        }
}

// From a map to a map, some windows at a time. What a window holds beyond the map's edge is zeros after the norm, all alike,
// and one key stands for it.
template <class Number>
struct Windows {
    using Looking = std::conditional_t<std::is_same_v<Number, Int8>, Int16, Number>;  // so few keys: 16 bits are cheap

    const Hiera& hiera;
    const int h, w, c, wide, d, o;         // the map and its channels; those of all keys, and of one head; those that come out
    const int cells, square, together;     // cells of a window; cells that become one; windows at a time
    Layers<Number> shortcut, qkv, out, mlp;
    Attention<Looking, float> attention;
    Packer<Looking> packer;
    std::vector<float> rows, projected, queries, seen, short_rows, rest, y;
    std::vector<typename Looking::Panel> panels;
    std::vector<float> scale, bias, values, ones;
    std::vector<int64_t> cell;  // of the map that comes out, for each query
    std::vector<int64_t> ends;  // of the windows' rows

    Windows(const Hiera& hiera, int h, int w)
        : hiera(hiera), h(h), w(w), c(hiera.qkv.inputs), wide(hiera.qkv.outputs / 3), d(wide / hiera.heads), o(hiera.out.outputs),
          cells(hiera.side * hiera.side), square(hiera.step * hiera.step), together(std::max(1, BLOCK * square / cells)),
          shortcut(&hiera.shortcut, square > 1), qkv(&hiera.qkv, 1), out(&hiera.out, 1), mlp(hiera.mlp, 2),
          attention(d, d), packer(d) {
        const int most = together * cells, keys = static_cast<int>(padded(cells + 1));
        rows.resize(most * c), projected.resize(most * 3 * wide), seen.resize(most / square * wide), y.resize(most / square * o);
        if (square > 1) queries.resize(most / 4 * wide), short_rows.resize(most * o), rest.resize(most / 4 * o);
        panels.resize(keys * d), scale.resize(keys), bias.resize(keys), values.resize(keys * d), ones.resize(d, 1.0f);
    }

    int64_t across() const { return (w + hiera.side - 1) / hiera.side; }
    int64_t number() const { return (h + hiera.side - 1) / hiera.side * across(); }

    void run(const float* from, int64_t first, int64_t last, float* to) {
        gather(from, first, last);
        const int64_t n = ends.back(), there = n / square;
        qkv.run(rows.data(), n, nullptr, projected.data());
        if (square > 1) {
            pool(projected.data(), 3 * wide, there, wide, queries.data());
            shortcut.run(rows.data(), n, nullptr, short_rows.data());
            pool(short_rows.data(), o, there, o, rest.data());
        }
        for (size_t i = 0; i + 1 < ends.size(); i++) look(ends[i], ends[i + 1]);
        out.run(seen.data(), there, square > 1 ? rest.data() : rows.data(), y.data());
        mlp.run(y.data(), there, y.data(), y.data());
        for (int64_t i = 0; i < there; i++) std::memcpy(to + cell[i] * o, &y[i * o], o * sizeof(float));
    }

  private:
    void gather(const float* from, int64_t first, int64_t last) {
        const int side = hiera.side, step = hiera.step;
        cell.clear(), ends.assign(1, 0);
        float* row = rows.data();
        for (int64_t i = first; i < last; i++) {
            const int64_t image = i / number(), top = i % number() / across() * side, left = i % across() * side;
            for (int64_t line = top; line < std::min<int64_t>(top + side, h); line += step)
                for (int64_t column = left; column < std::min<int64_t>(left + side, w); column += step) {
                    cell.push_back((image * (h / step) + line / step) * (w / step) + column / step);
                    for (int k = 0; k < square; k++, row += c) {
                        const int64_t at = (image * h + line + k / step) * w + column + k % step;
                        std::memcpy(row, from + at * c, c * sizeof(float));
                    }
                }
            ends.push_back((row - rows.data()) / c);
        }
    }

    // The attention of one window.
    void look(int64_t begin, int64_t end) {
        const int64_t stride = 3 * wide, there = end - begin, beyond = cells - there, m = there + (beyond > 0);
        std::fill(bias.begin(), bias.end(), NOT_THERE);
        std::fill_n(bias.begin(), there, 0.0f);
        if (beyond > 0) bias[there] = std::log(static_cast<float>(beyond));
        const float* q = square > 1 ? &queries[begin / 4 * wide] : &projected[begin * stride];
        for (int head = 0; head < hiera.heads * d; head += d) {
            for (int64_t j = 0; j < padded(m); j++) {
                const float* row = j < there ? &projected[(begin + j) * stride] : hiera.qkv.bias;
                packer.put(j < m ? row + wide + head : nullptr, j, panels.data(), scale.data());
                std::memcpy(&values[j * d], row + 2 * wide + head, d * sizeof(float));
            }
            const Keys<Looking, float> keys{panels.data(), scale.data(), bias.data(), m, values.data(), ones.data(), d, d};
            const int64_t q_stride = square > 1 ? wide : stride;
            for (int64_t i = 0; i < there / square; i += BLOCK)
                attention.look(q + i * q_stride + head, q_stride, std::min<int64_t>(BLOCK, there / square - i), hiera.by,
                               nullptr, nullptr, keys, &seen[(begin / square + i) * wide + head], wide);
        }
    }
};

template <class Number>
void windows_as(const Hiera& hiera, const float* x, int64_t images, int h, int w, float* out) {
#pragma omp parallel
    {
        Windows<Number> mine(hiera, h, w);
        const int64_t windows = images * mine.number();
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < windows; first += mine.together)
            mine.run(x, first, std::min(first + mine.together, windows), out);
    }
}

struct Upscaling {  // of the decoder's map, twice by two, to masks
    Layer up1, up2;  // each from a cell to the four that it becomes; up2's norm and a GELU come before it
    int h, w;        // of the map
    const float *middle, *fine;  // what is added to each layer's cells: (2h, 2w, inputs of up2), (4h, 4w, outputs of up2 / 4)
    const float* weights;        // of the masks (masks, outputs of up2 / 4)
    int masks;
};

// BLOCK cells of the map at a time go all the way to logits, so that the wide maps between are never written.
struct Upscaler {
    const Upscaling& up;
    const int c2, c4;  // channels after the first doubling, and after the second
    const Layer bare;
    Layers<Float32> first, second;
    std::vector<float> twice, four;

    explicit Upscaler(const Upscaling& up)
        : up(up), c2(up.up2.inputs), c4(up.up2.outputs / 4), bare(unnormed(up.up2)), first(&up.up1, 1), second(&bare, 1),
          twice(BLOCK * 4 * c2), four(BLOCK * 16 * c4) {}

    void run(const float* image, int64_t begin, int count, float* out) {
        first.run(image + begin * up.up1.inputs, count, nullptr, twice.data());
        for (int i = 0; i < 4 * count; i++) {
            float* cell = &twice[i * c2];
            const auto [y, x] = place(begin + i / 4, i % 4, up.w);
            const float* middle = up.middle + (static_cast<int64_t>(y) * 2 * up.w + x) * c2;
            for (int c = 0; c < c2; c += LANES) store(cell + c, plus(load(cell + c), load(middle + c)));
            normalise(up.up2, cell, cell);
            for (int c = 0; c < c2; c += LANES) store(cell + c, gelu(load(cell + c)));
        }
        second.run(twice.data(), 4 * count, nullptr, four.data());
        for (int i = 0; i < 16 * count; i++) {
            const auto [top, left] = place(begin + i / 16, i / 4 % 4, up.w);
            draw(&four[i * c4], 2 * top + i % 4 / 2, 2 * left + i % 2, out);
        }
    }

  private:
    static Layer unnormed(Layer layer) {
        layer.norm_weight = nullptr;
        return layer;
    }

    // Where the corner of a cell lies after doubling (y, x).
    static std::pair<int, int> place(int64_t cell, int corner, int w) {
        return {static_cast<int>(cell / w * 2 + corner / 2), static_cast<int>(cell % w * 2 + corner % 2)};
    }

    void draw(const float* cell, int y, int x, float* out) const {
        const int64_t area = static_cast<int64_t>(16) * up.h * up.w, at = static_cast<int64_t>(y) * 4 * up.w + x;
        for (int mask = 0; mask < up.masks; mask += 4) {
            const int some = std::min(4, up.masks - mask);
            Floats sums[4] = {};
            for (int c = 0; c < c4; c += LANES) {
                const Floats value = gelu(plus(load(cell + c), load(up.fine + at * c4 + c)));
                for (int m = 0; m < some; m++) sums[m] = times_plus(value, load(up.weights + (mask + m) * c4 + c), sums[m]);
            }
            for (int m = 0; m < some; m++) out[(mask + m) * area + at] = sum_of(sums[m]);
        }
    }
};

// Values (m, e) as integers: for each group of keys, and each column, those of the group.
template <class Value>
void pack_columns(const float* x, int64_t stride, int64_t m, int e, Value* groups, float* scale) {
    constexpr int TOGETHER = Weighing<Value>::TOGETHER;
    std::vector<float> factor(e, 1e-12f);
    for (int64_t row = 0; row < m; row++)
        for (int c = 0; c < e; c++) factor[c] = std::max(factor[c], std::fabs(x[row * stride + c]));
    for (int c = 0; c < e; c++) {
        scale[c] = factor[c] / Weighing<Value>::VALUES;
        factor[c] = 1.0f / scale[c];
    }
#pragma omp parallel for schedule(static)
    for (int64_t group = 0; group < padded(m) / TOGETHER; group++)
        for (int lane = 0; lane < TOGETHER; lane++) {
            const int64_t row = group * TOGETHER + lane;
            Value* to = groups + group * TOGETHER * e + lane;
            for (int c = 0; c < e; c++)
                to[c * TOGETHER] = row < m ? static_cast<Value>(std::lrint(x[row * stride + c] * factor[c])) : 0;
        }
}

template <class Function>
void with_number(int bits, Function function) {
    if (bits == 8) function(Int8{});
    if (bits == 16) function(Int16{});
    if (bits == 32) function(Float32{});
}

}  // namespace

extern "C" {

// Keys (m, d), or a layer's weight (outputs, inputs), to panels of 16 rows. Where cosines are given the first `placed`
// rows are turned, by `angles` rows of angles over and over.
void pack_rows(int bits, const float* x, int64_t stride, int64_t m, int d, const float* cosines, const float* sines,
               int64_t angles, int64_t placed, void* panels, float* scale) {
    with_number(bits, [&](auto number) {
        pack<decltype(number)>(x, stride, m, d, cosines, sines, angles, placed, panels, scale);
    });
}

// Values (m, e) in 16 or 8 bits, those of a few keys together; each column in steps of its own, of size scale.
void pack_values(int bits, const float* x, int64_t stride, int64_t m, int e, void* groups, float* scale) {
    with_number(bits, [&](auto number) {
        using Value = typename decltype(number)::Value;
        if constexpr (!std::is_same_v<Value, float>) pack_columns(x, stride, m, e, static_cast<Value*>(groups), scale);
    });
}

// Softmax attention of queries (n, d) over packed keys and values of as many bits; out (n, e). bias (padded m) is added to
// the logits: -1e4 where there is no key.
void attend(int bits, const float* q, int64_t q_stride, int64_t n, int d, float by, const float* cosines, const float* sines,
            const void* keys, const float* key_scale, const float* bias, int64_t m,
            const void* values, const float* value_scale, int e, float* out) {
    with_number(bits, [&](auto number) {
        using Number = decltype(number);
        using Value = typename Number::Value;
        attend_as<Number, Value>(q, q_stride, n, by, cosines, sines,
                                 {static_cast<const typename Number::Panel*>(keys), key_scale, bias, m,
                                  static_cast<const Value*>(values), value_scale, d, e}, out);
    });
}

// x (n, inputs) through one layer or several: out (n, outputs), each activation(norm(x) W^T + bias), and what is added to
// the last where there is something. What is between layers is never written as a whole.
void linear(int bits, const Layer* layers, int number, const float* x, int64_t n, const float* added, float* out) {
    with_number(bits, [&](auto kind) { through<decltype(kind)>(layers, number, x, n, added, out); });
}

// Maps (images, h, w, c) through a block of Hiera: out (images, h / step, w / step, outputs).
void windows(int bits, const Hiera* hiera, const float* x, int64_t images, int h, int w, float* out) {
    with_number(bits, [&](auto kind) { windows_as<decltype(kind)>(*hiera, x, images, h, w, out); });
}

// The decoder's map (h, w, inputs of up1) to logits (masks, 4h, 4w), in float32.
void upscale(const Upscaling* up, const float* image, float* out) {
    const int64_t cells = static_cast<int64_t>(up->h) * up->w;
#pragma omp parallel
    {
        Upscaler mine(*up);
#pragma omp for schedule(dynamic)
        for (int64_t begin = 0; begin < cells; begin += BLOCK)
            mine.run(image, begin, static_cast<int>(std::min<int64_t>(BLOCK, cells - begin)), out);
    }
}

}  // extern "C"
