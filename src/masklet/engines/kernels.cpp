// Attention, linear layers and Hiera's windowed blocks for CPUs with AVX512-VNNI, on numbers of 32, 16 or 8 bits.
//
// 32 bits: float32, as torch computes, but for the order of sums.
// 16 bits: rows become integers when they arrive. A step is so small that the longest chunk of 128 channels has length
//     46,000, so no sum of a chunk's products exceeds 31 bits (Cauchy-Schwarz); chunks are summed in float32.
// 8 bits: rows become integers of 127 steps of their own largest value, and so do the columns of values.
//
// Logits, softmax and results are float32 throughout. Attention goes through the keys in blocks with a running maximum
// (arXiv 2205.14135). In 8 bits a block's weights are 255 steps of its largest, so that the small weights of a long memory
// are not lost beside one large one.
//
// Built and called by kernels.py. Channels must come in multiples of 16.

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

constexpr int LANES = 16;  // keys, or outputs, in one vector; a panel holds so many rows, channel by channel
constexpr int ROWS = 8;    // queries in one step of the inner product, which takes two panels
constexpr int BLOCK = 64;  // queries that one thread takes at a time
constexpr int KEYS = 256;  // keys between two corrections of the running maximum
constexpr float NOT_THERE = -1e4f;  // what is added to the logits of keys that only fill up

using Products = __m512[ROWS][2];

inline __m512 all(float x) { return _mm512_set1_ps(x); }

inline __m512 exp512(__m512 x) {  // for -1e4 <= x <= 0, which is what softmax needs; relative error below 3e-7
    const __m512 whole = _mm512_roundscale_ps(_mm512_mul_ps(x, all(1.44269504f)), 0);
    const __m512 f = _mm512_fmadd_ps(x, all(1.925963e-8f), _mm512_fmsub_ps(x, all(1.44269502f), whole));
    __m512 p = all(1.5252734e-5f);
    for (const float each : {1.5403530e-4f, 1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f})
        p = _mm512_fmadd_ps(p, f, all(each));
    return _mm512_scalef_ps(p, whole);
}

inline __m512 rough_exp512(__m512 x) {  // the same with a relative error below 2e-4, beside integers
    const __m512 whole = _mm512_roundscale_ps(_mm512_mul_ps(x, all(1.44269504f)), 0);
    const __m512 f = _mm512_fmsub_ps(x, all(1.44269504f), whole);
    __m512 p = all(5.6171544e-2f);
    for (const float each : {2.4223951e-1f, 6.9313675e-1f, 9.9992520e-1f}) p = _mm512_fmadd_ps(p, f, all(each));
    return _mm512_scalef_ps(p, whole);
}

inline __m512 gelu512(__m512 x) {  // through erf, Abramowitz and Stegun 7.1.26
    const __m512 z = _mm512_abs_ps(_mm512_mul_ps(x, all(0.70710678f)));
    const __m512 t = _mm512_div_ps(all(1.0f), _mm512_fmadd_ps(z, all(0.3275911f), all(1.0f)));
    __m512 p = all(1.061405429f);
    for (const float each : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
        p = _mm512_fmadd_ps(p, t, all(each));
    const __m512 exponent = _mm512_max_ps(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(z, z)), all(-87.0f));
    const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(p, t), exp512(exponent));
    const __m512 erf = _mm512_sub_ps(all(1.0f), tail);  // of |x| / sqrt 2
    const __m512 half = _mm512_mul_ps(x, all(0.5f));
    return _mm512_fmadd_ps(_mm512_abs_ps(half), erf, half);
}

inline __m512 rough_gelu512(__m512 x) {  // x times its share of the normal distribution, to 5e-5, beside integers
    const __m512 z = _mm512_min_ps(_mm512_max_ps(x, all(-4.3f)), all(4.3f)), square = _mm512_mul_ps(z, z);
    __m512 p = all(5.1611264e-11f);
    for (const float each : {-5.0362908e-09f, 2.1692756e-07f, -5.4922028e-06f, 9.223705e-05f, -0.0011027155f, 0.0098008142f, -0.066327102f, 0.39889663f})
        p = _mm512_fmadd_ps(p, square, all(each));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(p, z, all(0.5f)));
}

inline float largest(const float* x, int d) {
    __m512 most = _mm512_setzero_ps();
    for (int i = 0; i < d; i += LANES) most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
    return std::max(_mm512_reduce_max_ps(most), 1e-30f);
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
    static constexpr int TOGETHER = 1;

    static float keep(const float* x, int d, float* out, int32_t*) {
        std::memcpy(out, x, d * sizeof(float));
        return 1.0f;
    }

    static float panelled(float x) { return x; }

    [[gnu::always_inline]] static void multiply(const float* rows, const int32_t*, int d, const float* panel, Products out) {
        const float* other = panel + static_cast<int64_t>(d) * LANES;
        __m512 acc[ROWS][2];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
        for (int c = 0; c < d; c++) {
            const __m512 k0 = _mm512_loadu_ps(panel + c * LANES), k1 = _mm512_loadu_ps(other + c * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                const __m512 each = all(rows[r * d + c]);
                acc[r][0] = _mm512_fmadd_ps(each, k0, acc[r][0]);
                acc[r][1] = _mm512_fmadd_ps(each, k1, acc[r][1]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) out[r][0] = acc[r][0], out[r][1] = acc[r][1];
    }
};

struct Int16 {
    using Row = int16_t;
    using Panel = int16_t;
    static constexpr int TOGETHER = 2;
    static constexpr int CHUNK = 128;
    static constexpr float LENGTH = 46000.0f;

    static float keep(const float* x, int d, int16_t* out, int32_t*) {
        float longest = 0;
        for (int begin = 0; begin < d; begin += CHUNK) {
            __m512 squares = _mm512_setzero_ps();
            for (int i = begin; i < std::min(begin + CHUNK, d); i += LANES) {
                const __m512 each = _mm512_loadu_ps(x + i);
                squares = _mm512_fmadd_ps(each, each, squares);
            }
            longest = std::max(longest, _mm512_reduce_add_ps(squares));
        }
        const float factor = std::min(LENGTH / std::max(std::sqrt(longest), 1e-15f), 32766.0f / largest(x, d));
        for (int i = 0; i < d; i += LANES) {
            const __m512i steps = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), all(factor)));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm512_cvtepi32_epi16(steps));
        }
        return 1.0f / factor;
    }

    static int16_t panelled(int16_t x) { return x; }

    [[gnu::always_inline]] static void multiply(const int16_t* rows, const int32_t*, int d, const int16_t* panel, Products out) {
        const int16_t* other = panel + static_cast<int64_t>(d) * LANES;
        for (int begin = 0; begin < d; begin += CHUNK) {
            __m512i acc[ROWS][2];
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) acc[r][0] = acc[r][1] = _mm512_setzero_si512();
            for (int c = begin; c < std::min(begin + CHUNK, d); c += 2) {
                const __m512i k0 = _mm512_loadu_si512(panel + c * LANES), k1 = _mm512_loadu_si512(other + c * LANES);
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r++) {
                    const __m512i each = _mm512_set1_epi32(four_bytes(rows + r * d + c));
                    acc[r][0] = _mm512_dpwssd_epi32(acc[r][0], k0, each);
                    acc[r][1] = _mm512_dpwssd_epi32(acc[r][1], k1, each);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++)
                for (int half = 0; half < 2; half++) {
                    const __m512 sum = _mm512_cvtepi32_ps(acc[r][half]);
                    out[r][half] = begin ? _mm512_add_ps(out[r][half], sum) : sum;
                }
        }
    }
};

struct Int8 {
    using Row = int8_t;
    using Panel = uint8_t;
    static constexpr int TOGETHER = 4;

    static float keep(const float* x, int d, int8_t* out, int32_t* sum) {
        const float most = largest(x, d);
        __m512i total = _mm512_setzero_si512();
        for (int i = 0; i < d; i += LANES) {
            const __m512i steps = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), all(127.0f / most)));
            total = _mm512_add_epi32(total, steps);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtepi32_epi8(steps));
        }
        *sum = _mm512_reduce_add_epi32(total);
        return most / 127.0f;
    }

    // The instruction wants one side without signs: panels carry an offset, which the rows' sums take back.
    static uint8_t panelled(int8_t x) { return static_cast<uint8_t>(x + 128); }

    [[gnu::always_inline]] static void multiply(const int8_t* rows, const int32_t* sums, int d, const uint8_t* panel, Products out) {
        const uint8_t* other = panel + static_cast<int64_t>(d) * LANES;
        __m512i acc[ROWS][2];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) acc[r][0] = acc[r][1] = _mm512_set1_epi32(-128 * sums[r]);
        for (int c = 0; c < d; c += 4) {
            const __m512i k0 = _mm512_loadu_si512(panel + c * LANES), k1 = _mm512_loadu_si512(other + c * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                const __m512i each = _mm512_set1_epi32(four_bytes(rows + r * d + c));
                acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], k0, each);
                acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], k1, each);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
            for (int half = 0; half < 2; half++) out[r][half] = _mm512_cvtepi32_ps(acc[r][half]);
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

// Weights of one query for a block of keys, as floats or as bytes. Returns what the results of the blocks before, and of
// this one, are to be multiplied by.
struct Softmax {
    float maximum = -std::numeric_limits<float>::infinity(), sum = 0;

    template <class Weight>
    std::pair<float, float> step(const float* logits, int count, Weight* weights) {
        constexpr bool bytes = std::is_same_v<Weight, uint8_t>;
        __m512 top = all(-std::numeric_limits<float>::infinity()), total = _mm512_setzero_ps();
        for (int j = 0; j < count; j += LANES) top = _mm512_max_ps(top, _mm512_loadu_ps(logits + j));
        const float here = _mm512_reduce_max_ps(top);
        for (int j = 0; j < count; j += LANES) {
            const __m512 below = _mm512_sub_ps(_mm512_loadu_ps(logits + j), all(here));
            __m512 p = bytes ? rough_exp512(below) : exp512(below);
            if constexpr (bytes) {
                const __m512i steps = _mm512_cvtps_epi32(_mm512_mul_ps(p, all(255.0f)));
                _mm_storeu_si128(reinterpret_cast<__m128i*>(weights + j), _mm512_cvtepi32_epi8(steps));
                p = _mm512_cvtepi32_ps(steps);
            } else {
                _mm512_storeu_ps(weights + j, p);
            }
            total = _mm512_add_ps(total, p);
        }
        const float now = std::max(maximum, here);
        const float old = std::exp(maximum - now), fresh = std::exp(here - now) / (bytes ? 255.0f : 1.0f);
        sum = sum * old + _mm512_reduce_add_ps(total) * fresh;
        maximum = now;
        return {old, fresh};
    }
};

using Factors = std::pair<float, float>;  // of what was summed before, and of what comes to it

inline void add_to(float* to, __m512 sum, const Factors& by) {
    _mm512_storeu_ps(to, _mm512_fmadd_ps(sum, all(by.second), _mm512_mul_ps(_mm512_loadu_ps(to), all(by.first))));
}

// ROWS rows of weights with WIDE vectors of the values' columns.
template <int WIDE>
void weigh_columns(const float* weights, const float* values, int keys, int e, const Factors* by, float* acc) {
    __m512 sums[ROWS][WIDE];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < WIDE; i++) sums[r][i] = _mm512_setzero_ps();
    for (int j = 0; j < keys; j++) {
        __m512 v[WIDE];
        for (int i = 0; i < WIDE; i++) v[i] = _mm512_loadu_ps(values + static_cast<int64_t>(j) * e + i * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < WIDE; i++) sums[r][i] = _mm512_fmadd_ps(all(weights[r * KEYS + j]), v[i], sums[r][i]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < WIDE; i++) add_to(acc + r * e + i * LANES, sums[r][i], by[r]);
}

// acc (count, e) = acc * by.first + weights (count, keys) @ values (keys, e) * by.second
void weigh(const float* weights, const float* values, int count, int keys, int e, const Factors* by, float* acc) {
    for (int first = 0; first < count; first += ROWS) {
        int column = 0;
        for (; column + 2 * LANES <= e; column += 2 * LANES)
            weigh_columns<2>(weights + first * KEYS, values + column, keys, e, by + first, acc + first * e + column);
        for (; column < e; column += LANES)
            weigh_columns<1>(weights + first * KEYS, values + column, keys, e, by + first, acc + first * e + column);
    }
}

// The same in bytes; values lie in groups of four keys.
void weigh(const uint8_t* weights, const int8_t* values, int count, int keys, int e, const Factors* by, float* acc) {
    for (int column = 0; column < e; column += LANES) {
        for (int first = 0; first < count; first += ROWS) {
            __m512i sums[ROWS];
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) sums[r] = _mm512_setzero_si512();
            for (int j = 0; j < keys; j += 4) {
                const __m512i v = _mm512_loadu_si512(values + static_cast<int64_t>(j) * e + column * 4);
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r++)
                    sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_set1_epi32(four_bytes(weights + (first + r) * KEYS + j)), v);
            }
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++)
                add_to(acc + (first + r) * e + column, _mm512_cvtepi32_ps(sums[r]), by[first + r]);
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

template <class Number>
struct Keys {  // packed, with their values; bias is added to logits
    using Value = std::conditional_t<std::is_same_v<Number, Int8>, int8_t, float>;
    const typename Number::Panel* panels;
    const float *scale, *bias;
    int64_t m;
    const Value* values;
    const float* value_scale;
    int d, e;
};

template <class Number>
struct Attention {  // of up to BLOCK queries; what one thread needs for it
    using Weight = std::conditional_t<std::is_same_v<Number, Int8>, uint8_t, float>;
    Block<Number> block;
    std::vector<float> logits, acc;
    std::vector<Weight> weights;
    Factors factors[BLOCK];
    Softmax softmax[BLOCK];

    Attention(int d, int e) : block(d), logits(BLOCK * KEYS), acc(BLOCK * e), weights(BLOCK * KEYS) {}

    void look(const float* q, int64_t stride, int count, float by, const float* cosines, const float* sines,
              const Keys<Number>& keys, float* out, int64_t out_stride) {
        const int e = keys.e;
        block.fill(q, stride, count, keys.d, cosines, sines);
        std::fill_n(softmax, BLOCK, Softmax{});
        std::fill(acc.begin(), acc.end(), 0.0f);
        for (int64_t from = 0; from < padded(keys.m); from += KEYS) {
            const int there = static_cast<int>(std::min<int64_t>(KEYS, padded(keys.m) - from));
            multiply(keys, from, there, count, by);
            for (int r = 0; r < count; r++)
                factors[r] = softmax[r].step(&logits[r * KEYS], there, &weights[r * KEYS]);
            weigh(weights.data(), keys.values + from * e, count, there, e, factors, acc.data());
        }
        for (int r = 0; r < count; r++)
            for (int c = 0; c < e; c++) out[r * out_stride + c] = acc[r * e + c] * keys.value_scale[c] / softmax[r].sum;
    }

  private:
    void multiply(const Keys<Number>& keys, int64_t from, int there, int count, float by) {
        const int d = keys.d;
        for (int j = 0; j < there; j += 2 * LANES) {
            const int64_t key = from + j;
            const __m512 scale[2] = {_mm512_loadu_ps(keys.scale + key), _mm512_loadu_ps(keys.scale + key + LANES)};
            const __m512 add[2] = {_mm512_loadu_ps(keys.bias + key), _mm512_loadu_ps(keys.bias + key + LANES)};
            for (int r = 0; r < count; r += ROWS) {
                Products dots;
                Number::multiply(&block.rows[r * d], &block.sum[r], d, keys.panels + key * d, dots);
#pragma GCC unroll 8
                for (int i = 0; i < ROWS; i++)
                    for (int half = 0; half < 2; half++) {
                        const __m512 size = _mm512_mul_ps(scale[half], all(block.scale[r + i] * by));
                        _mm512_storeu_ps(&logits[(r + i) * KEYS + j + half * LANES],
                                         _mm512_fmadd_ps(dots[i][half], size, add[half]));
                    }
            }
        }
    }
};

template <class Number>
void attend_as(const float* q, int64_t stride, int64_t n, float by, const float* cosines, const float* sines,
               const Keys<Number>& keys, float* out) {
#pragma omp parallel
    {
        Attention<Number> attention(keys.d, keys.e);
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
    __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int i = 0; i < d; i += LANES) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + i));
    const __m512 mean = all(_mm512_reduce_add_ps(sum) / d);
    for (int i = 0; i < d; i += LANES) {
        const __m512 off = _mm512_sub_ps(_mm512_loadu_ps(x + i), mean);
        squares = _mm512_fmadd_ps(off, off, squares);
    }
    const __m512 factor = all(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / d + layer.eps));
    for (int i = 0; i < d; i += LANES) {
        const __m512 off = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), factor);
        _mm512_storeu_ps(out + i, _mm512_fmadd_ps(off, _mm512_loadu_ps(layer.norm_weight + i), _mm512_loadu_ps(layer.norm_bias + i)));
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
                        const __m512 size = _mm512_mul_ps(_mm512_loadu_ps(layer.scale + at), all(block.scale[r + j]));
                        __m512 y = _mm512_fmadd_ps(dots[j][half], size, _mm512_loadu_ps(layer.bias + at));
                        if (layer.activation == 1) y = _mm512_max_ps(y, _mm512_setzero_ps());
                        if (layer.activation == 2) y = std::is_same_v<Number, Float32> ? gelu512(y) : rough_gelu512(y);
                        if (added) y = _mm512_add_ps(y, _mm512_loadu_ps(added + to));
                        _mm512_storeu_ps(out + to, y);
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
            const __m512 a = _mm512_max_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + stride + i));
            const __m512 b = _mm512_max_ps(_mm512_loadu_ps(x + 2 * stride + i), _mm512_loadu_ps(x + 3 * stride + i));
            _mm512_storeu_ps(out + i, _mm512_max_ps(a, b));
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
    Attention<Looking> attention;
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
            const Keys<Looking> keys{panels.data(), scale.data(), bias.data(), m, values.data(), ones.data(), d, d};
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

// Values (m, e) in 8 bits to groups of four rows; each column in steps of its own, of size scale.
void pack_values(const float* x, int64_t stride, int64_t m, int e, int8_t* groups, float* scale) {
    std::fill(scale, scale + e, 1e-12f);
    for (int64_t row = 0; row < m; row++)
        for (int c = 0; c < e; c++) scale[c] = std::max(scale[c], std::fabs(x[row * stride + c]));
    for (int c = 0; c < e; c++) scale[c] /= 127.0f;
#pragma omp parallel for schedule(static)
    for (int64_t group = 0; group < padded(m) / 4; group++)
        for (int lane = 0; lane < 4; lane++) {
            const int64_t row = group * 4 + lane;
            int8_t* to = groups + group * 4 * e + lane;
            for (int c = 0; c < e; c++)
                to[c * 4] = row < m ? static_cast<int8_t>(std::lrint(x[row * stride + c] / scale[c])) : 0;
        }
}

// Softmax attention of queries (n, d) over packed keys and values, these of 8 bits where keys are and else float32;
// out (n, e). bias (padded m) is added to the logits: -1e4 where there is no key.
void attend(int bits, const float* q, int64_t q_stride, int64_t n, int d, float by, const float* cosines, const float* sines,
            const void* keys, const float* key_scale, const float* bias, int64_t m,
            const void* values, const float* value_scale, int e, float* out) {
    with_number(bits, [&](auto number) {
        using Number = decltype(number);
        attend_as<Number>(q, q_stride, n, by, cosines, sines,
                          {static_cast<const typename Number::Panel*>(keys), key_scale, bias, m,
                           static_cast<const typename Keys<Number>::Value*>(values), value_scale, d, e}, out);
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

}  // extern "C"
