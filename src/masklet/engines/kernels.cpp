// Attention and linear layers on 8-bit integers, for CPUs with AVX512-VNNI.
//
// Rows are quantised when they arrive: each query, key and token to 127 steps of its own largest value, each column
// of values and each output of a layer likewise. Sums are exact; logits, softmax and results are float32. Attention
// goes through the keys in blocks with a running maximum (arXiv 2205.14135), and within a block weights are 255 steps
// of the block's largest, so that the small weights of a long memory are not lost beside one large one.
//
// Built and called by kernels.py. Channels must come in multiples of 16.

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int LANES = 16;   // keys, or outputs, in one vector
constexpr int ROWS = 8;     // queries in one step of the inner product
constexpr int BLOCK = 64;   // queries that one thread takes at a time
constexpr int KEYS = 256;   // keys between two corrections of the running maximum

inline __m512 exp512(__m512 x) {  // relative error below 1e-5 for x <= 0, which is what softmax needs
    const __m512 t = _mm512_mul_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.0f)), _mm512_set1_ps(1.44269504f));
    const __m512 whole = _mm512_roundscale_ps(t, 0);
    const __m512 f = _mm512_sub_ps(t, whole);
    __m512 p = _mm512_set1_ps(1.3333558e-3f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6181291e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504109e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, whole);
}

inline __m512 gelu512(__m512 x) {  // through erf, Abramowitz and Stegun 7.1.26
    const __m512 z = _mm512_abs_ps(_mm512_mul_ps(x, _mm512_set1_ps(0.70710678f)));
    const __m512 t = _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), _mm512_set1_ps(1.0f)));
    __m512 p = _mm512_set1_ps(1.061405429f);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-1.453152027f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(1.421413741f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-0.284496736f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.254829592f));
    const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(p, t), exp512(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(z, z))));
    const __m512 erf = _mm512_sub_ps(_mm512_set1_ps(1.0f), tail);  // of |x| / sqrt 2
    const __m512 half = _mm512_mul_ps(x, _mm512_set1_ps(0.5f));
    return _mm512_fmadd_ps(_mm512_abs_ps(half), erf, half);
}

// Turn neighbouring pairs of channels by the row's angles.
void turn_row(const float* x, const float* cosines, const float* sines, int d, float* out) {
    for (int i = 0; i < d / 2; i++) {
        const float even = x[2 * i], odd = x[2 * i + 1];
        out[2 * i] = even * cosines[i] - odd * sines[i];
        out[2 * i + 1] = even * sines[i] + odd * cosines[i];
    }
}

// One row to 127 steps on either side; returns the size of a step. sum: of the steps, for the offset of keys.
float quantise_row(const float* x, int d, int8_t* out, int32_t* sum) {
    __m512 largest = _mm512_setzero_ps();
    for (int i = 0; i < d; i += LANES) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
    const float most = std::max(_mm512_reduce_max_ps(largest), 1e-12f);
    const __m512 factor = _mm512_set1_ps(127.0f / most);
    __m512i total = _mm512_setzero_si512();
    for (int i = 0; i < d; i += LANES) {
        const __m512i steps = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), factor));
        total = _mm512_add_epi32(total, steps);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtepi32_epi8(steps));
    }
    *sum = _mm512_reduce_add_epi32(total);
    return most / 127.0f;
}

// ROWS queries times TWO panels of 16 keys. Keys carry an offset of 128, which the queries' sums take back.
inline void inner(const int8_t* q, const int32_t* sums, int d, const uint8_t* panel, __m512i acc[ROWS][2]) {
    const uint8_t* other = panel + static_cast<int64_t>(d) * LANES;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) acc[r][0] = acc[r][1] = _mm512_set1_epi32(-128 * sums[r]);
    for (int c = 0; c < d; c += 4) {
        const __m512i k0 = _mm512_loadu_si512(panel + c * LANES), k1 = _mm512_loadu_si512(other + c * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            int32_t four;
            std::memcpy(&four, q + r * d + c, 4);
            const __m512i each = _mm512_set1_epi32(four);
            acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], k0, each);
            acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], k1, each);
        }
    }
}

struct Queries {  // a block of rows, quantised
    std::vector<int8_t> steps;
    float scale[BLOCK];
    int32_t sum[BLOCK];
    std::vector<float> turned;

    explicit Queries(int d) : steps(BLOCK * d), turned(d) {}

    void fill(const float* x, int64_t stride, int count, int d, const float* cosines, const float* sines) {
        for (int r = 0; r < count; r++) {
            const float* row = x + r * stride;
            if (cosines) {
                turn_row(row, cosines + r * (d / 2), sines + r * (d / 2), d, turned.data());
                row = turned.data();
            }
            scale[r] = quantise_row(row, d, &steps[r * d], &sum[r]);
        }
        for (int r = count; r < BLOCK; r++) {
            scale[r] = 0, sum[r] = 0;
            std::memset(&steps[r * d], 0, d);
        }
    }
};

// Weights of one query for a block of keys; returns what the old sum and the block's are to be multiplied by.
struct Softmax {
    float maximum = -INFINITY, sum = 0;

    std::pair<float, float> step(float* logits, int count, uint8_t* weights) {
        __m512 top = _mm512_set1_ps(-INFINITY);
        for (int j = 0; j < count; j += LANES) top = _mm512_max_ps(top, _mm512_loadu_ps(logits + j));
        const float here = _mm512_reduce_max_ps(top);
        const __m512 shift = _mm512_set1_ps(here);
        __m512i total = _mm512_setzero_si512();
        for (int j = 0; j < count; j += LANES) {
            const __m512 p = exp512(_mm512_sub_ps(_mm512_loadu_ps(logits + j), shift));
            const __m512i steps = _mm512_cvtps_epi32(_mm512_mul_ps(p, _mm512_set1_ps(255.0f)));
            total = _mm512_add_epi32(total, steps);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(weights + j), _mm512_cvtepi32_epi8(steps));
        }
        const float now = std::max(maximum, here);
        const float old = std::exp(maximum - now), fresh = std::exp(here - now) / 255.0f;
        sum = sum * old + static_cast<float>(_mm512_reduce_add_epi32(total)) * fresh;
        maximum = now;
        return {old, fresh};
    }
};

// acc = acc * old + weights (BLOCK, keys) @ values (keys, e) * fresh
void weigh(const uint8_t* weights, const int8_t* values, int keys, int e, const std::pair<float, float>* by, float* acc) {
    for (int column = 0; column < e; column += LANES) {
        for (int first = 0; first < BLOCK; first += ROWS) {
            __m512i sums[ROWS];
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) sums[r] = _mm512_setzero_si512();
            for (int j = 0; j < keys; j += 4) {
                const __m512i v = _mm512_loadu_si512(values + static_cast<int64_t>(j) * e + column * 4);
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r++) {
                    int32_t four;
                    std::memcpy(&four, weights + (first + r) * KEYS + j, 4);
                    sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_set1_epi32(four), v);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                float* to = acc + (first + r) * e + column;
                const __m512 kept = _mm512_mul_ps(_mm512_loadu_ps(to), _mm512_set1_ps(by[first + r].first));
                const __m512 factor = _mm512_set1_ps(by[first + r].second);
                _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r]), factor, kept));
            }
        }
    }
}

int64_t padded(int64_t count) { return (count + 2 * LANES - 1) / (2 * LANES) * (2 * LANES); }

}  // namespace

extern "C" {

// Keys (m, d), or a layer's weight (outputs, inputs), to panels of 16 rows, four channels of each row together.
// Where cosines are given the first `placed` rows are turned, `angles` rows of angles over and over.
void pack_rows(const float* x, int64_t stride, int64_t m, int d, const float* cosines, const float* sines,
               int64_t angles, int64_t placed, uint8_t* panels, float* scale) {
    const int64_t whole = padded(m);
#pragma omp parallel for schedule(static)
    for (int64_t panel = 0; panel < whole / LANES; panel++) {
        std::vector<float> turned(d);
        std::vector<int8_t> steps(d);
        for (int lane = 0; lane < LANES; lane++) {
            const int64_t row = panel * LANES + lane;
            int32_t sum;
            std::fill(steps.begin(), steps.end(), 0);
            scale[row] = 0;
            if (row < m) {
                const float* from = x + row * stride;
                if (cosines && row < placed) {
                    const int64_t at = row % angles * (d / 2);
                    turn_row(from, cosines + at, sines + at, d, turned.data());
                    from = turned.data();
                }
                scale[row] = quantise_row(from, d, steps.data(), &sum);
            }
            uint8_t* to = panels + panel * LANES * d + lane * 4;
            for (int c = 0; c < d; c += 4) {
                int32_t four;
                std::memcpy(&four, &steps[c], 4);
                four ^= static_cast<int32_t>(0x80808080);  // plus 128 in each byte
                std::memcpy(to + c * LANES, &four, 4);
            }
        }
    }
}

// Values (m, e) to groups of four rows; each column in steps of its own, of size scale.
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

// Softmax attention of queries (n, d) over packed keys and values; out (n, e). bias (padded m) is added to the
// logits: minus infinity where there is no key.
void attend(const float* q, int64_t q_stride, int64_t n, int d, float by, const float* cosines, const float* sines,
            const uint8_t* keys, const float* key_scale, const float* bias, int64_t m,
            const int8_t* values, const float* value_scale, int e, float* out, int64_t out_stride) {
    const int64_t whole = padded(m);
#pragma omp parallel
    {
        Queries block(d);
        std::vector<float> logits(BLOCK * KEYS), acc(BLOCK * e);
        std::vector<uint8_t> weights(BLOCK * KEYS);
        std::vector<std::pair<float, float>> factors(BLOCK);
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < n; first += BLOCK) {
            const int count = static_cast<int>(std::min<int64_t>(BLOCK, n - first));
            block.fill(q + first * q_stride, q_stride, count, d, cosines ? cosines + first * (d / 2) : nullptr,
                       cosines ? sines + first * (d / 2) : nullptr);
            std::vector<Softmax> softmax(BLOCK);
            std::fill(acc.begin(), acc.end(), 0.0f);
            for (int64_t from = 0; from < whole; from += KEYS) {
                const int there = static_cast<int>(std::min<int64_t>(KEYS, whole - from));
                for (int j = 0; j < there; j += 2 * LANES) {
                    const int64_t key = from + j;
                    const __m512 scale[2] = {_mm512_loadu_ps(key_scale + key), _mm512_loadu_ps(key_scale + key + LANES)};
                    const __m512 add[2] = {_mm512_loadu_ps(bias + key), _mm512_loadu_ps(bias + key + LANES)};
                    for (int r = 0; r < BLOCK; r += ROWS) {
                        __m512i dots[ROWS][2];
                        inner(&block.steps[r * d], &block.sum[r], d, keys + key * d, dots);
#pragma GCC unroll 8
                        for (int i = 0; i < ROWS; i++)
                            for (int half = 0; half < 2; half++) {
                                const __m512 size = _mm512_mul_ps(scale[half], _mm512_set1_ps(block.scale[r + i] * by));
                                _mm512_storeu_ps(&logits[(r + i) * KEYS + j + half * LANES],
                                                 _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[i][half]), size, add[half]));
                            }
                    }
                }
                for (int r = 0; r < BLOCK; r++)
                    factors[r] = softmax[r].step(&logits[r * KEYS], there, &weights[r * KEYS]);
                weigh(weights.data(), values + from * e, there, e, factors.data(), acc.data());
            }
            for (int r = 0; r < count; r++)
                for (int c = 0; c < e; c++)
                    out[(first + r) * out_stride + c] = acc[r * e + c] * value_scale[c] / softmax[r].sum;
        }
    }
}

// x (n, inputs) through a layer: out (n, outputs) = act(x W^T + bias). act: 0 none, 1 ReLU, 2 GELU.
void linear(const float* x, int64_t n, int inputs, const uint8_t* weight, const float* weight_scale,
            const float* bias, int outputs, int act, float* out) {
#pragma omp parallel
    {
        Queries block(inputs);
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < n; first += BLOCK) {
            const int count = static_cast<int>(std::min<int64_t>(BLOCK, n - first));
            block.fill(x + first * inputs, inputs, count, inputs, nullptr, nullptr);
            for (int o = 0; o < outputs; o += 2 * LANES) {
                const int halves = o + LANES < outputs ? 2 : 1;
                for (int r = 0; r < count; r += ROWS) {
                    __m512i dots[ROWS][2];
                    inner(&block.steps[r * inputs], &block.sum[r], inputs, weight + static_cast<int64_t>(o) * inputs, dots);
#pragma GCC unroll 8
                    for (int i = 0; i < ROWS; i++) {
                        if (r + i >= count) break;
                        for (int half = 0; half < halves; half++) {
                            const int at = o + half * LANES;
                            const __m512 size = _mm512_mul_ps(_mm512_loadu_ps(weight_scale + at), _mm512_set1_ps(block.scale[r + i]));
                            __m512 y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[i][half]), size, _mm512_loadu_ps(bias + at));
                            if (act == 1) y = _mm512_max_ps(y, _mm512_setzero_ps());
                            if (act == 2) y = gelu512(y);
                            _mm512_storeu_ps(out + (first + r + i) * outputs + at, y);
                        }
                    }
                }
            }
        }
    }
}

int has_half() {
#ifdef __AVX512FP16__
    return 1;
#else
    return 0;
#endif
}

#ifdef __AVX512FP16__

// A weight (outputs, inputs) to panels of 64 outputs in half precision.
void pack_half(const float* x, int64_t outputs, int64_t inputs, _Float16* panels) {
#pragma omp parallel for schedule(static)
    for (int64_t panel = 0; panel < (outputs + 63) / 64; panel++)
        for (int64_t i = 0; i < inputs; i++)
            for (int64_t lane = 0; lane < 64; lane++) {
                const int64_t o = panel * 64 + lane;
                panels[(panel * inputs + i) * 64 + lane] = static_cast<_Float16>(o < outputs ? x[o * inputs + i] : 0.0f);
            }
}

// The same layer in half precision. Sums of CHUNK products are half, sums of those are float32. Rows are brought to
// at most 1, so that none overflows. bias is as long as the panels are wide.
void linear_half(const float* x, int64_t n, int inputs, const _Float16* weight, const float* bias, int outputs, int act,
                 float* out) {
    constexpr int CHUNK = 64;
#pragma omp parallel
    {
        std::vector<_Float16> rows(BLOCK * inputs);
        float size[BLOCK];
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < n; first += BLOCK) {
            const int count = static_cast<int>(std::min<int64_t>(BLOCK, n - first));
            for (int r = 0; r < BLOCK; r++) {
                _Float16* to = &rows[r * inputs];
                size[r] = 0;
                if (r >= count) {
                    std::fill(to, to + inputs, static_cast<_Float16>(0));
                    continue;
                }
                const float* from = x + (first + r) * inputs;
                __m512 largest = _mm512_setzero_ps();
                for (int i = 0; i < inputs; i += LANES) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(from + i)));
                size[r] = std::max(_mm512_reduce_max_ps(largest), 1e-30f);
                const __m512 factor = _mm512_set1_ps(1.0f / size[r]);
                for (int i = 0; i < inputs; i += LANES)
                    _mm256_storeu_ph(to + i, _mm512_cvtxps_ph(_mm512_mul_ps(_mm512_loadu_ps(from + i), factor)));
            }
            for (int o = 0; o < outputs; o += 64) {
                const _Float16* panel = weight + static_cast<int64_t>(o) * inputs;
                for (int r = 0; r < count; r += ROWS) {
                    __m512 total[ROWS][4];
                    for (auto& row : total) for (auto& part : row) part = _mm512_setzero_ps();
                    for (int begin = 0; begin < inputs; begin += CHUNK) {
                        const int end = std::min(begin + CHUNK, inputs);
                        __m512h acc[ROWS][2];
#pragma GCC unroll 8
                        for (int i = 0; i < ROWS; i++) acc[i][0] = acc[i][1] = _mm512_setzero_ph();
                        for (int c = begin; c < end; c++) {
                            const __m512h w0 = _mm512_loadu_ph(panel + c * 64), w1 = _mm512_loadu_ph(panel + c * 64 + 32);
#pragma GCC unroll 8
                            for (int i = 0; i < ROWS; i++) {
                                const __m512h each = _mm512_set1_ph(rows[(r + i) * inputs + c]);
                                acc[i][0] = _mm512_fmadd_ph(each, w0, acc[i][0]);
                                acc[i][1] = _mm512_fmadd_ph(each, w1, acc[i][1]);
                            }
                        }
#pragma GCC unroll 8
                        for (int i = 0; i < ROWS; i++)
                            for (int half = 0; half < 2; half++) {
                                const __m512i bits = _mm512_castph_si512(acc[i][half]);
                                total[i][half * 2] = _mm512_add_ps(total[i][half * 2], _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm512_castsi512_si256(bits))));
                                total[i][half * 2 + 1] = _mm512_add_ps(total[i][half * 2 + 1], _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm512_extracti64x4_epi64(bits, 1))));
                            }
                    }
                    for (int i = 0; i < ROWS && r + i < count; i++)
                        for (int part = 0; part < 4 && o + part * LANES < outputs; part++) {
                            const int64_t at = (first + r + i) * outputs + o + part * LANES;
                            __m512 y = _mm512_fmadd_ps(total[i][part], _mm512_set1_ps(size[r + i]), _mm512_loadu_ps(bias + o + part * LANES));
                            if (act == 1) y = _mm512_max_ps(y, _mm512_setzero_ps());
                            if (act == 2) y = gelu512(y);
                            _mm512_storeu_ps(out + at, y);
                        }
                }
            }
        }
    }
}

#endif

}  // extern "C"
