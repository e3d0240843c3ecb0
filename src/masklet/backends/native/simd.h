// Vectors of sixteen numbers: one register if the CPU has AVX512-VNNI, otherwise two of AVX2.

#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int LANES = 16;

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

// The register tile of the inner products: the numbers of rows and of panels whose sums fit into registers.
constexpr int TILE_ROWS = 8, TILE_PANELS = 2;

using Floats = __m512;
using Ints = __m512i;

inline Floats set1(float x) { return _mm512_set1_ps(x); }
inline Floats load(const float* x) { return _mm512_loadu_ps(x); }
inline Floats in_registers(Floats x) { return x; }
inline void store(float* to, Floats x) { _mm512_storeu_ps(to, x); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats fmadd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats fmsub(Floats a, Floats b, Floats c) { return _mm512_fmsub_ps(a, b, c); }
inline Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats abs(Floats x) { return _mm512_abs_ps(x); }
inline Floats round(Floats x) { return _mm512_roundscale_ps(x, 0); }
inline Floats scale_by_power_of_two(Floats x, Floats whole) { return _mm512_scalef_ps(x, whole); }  // x * 2^whole
inline float reduce_add(Floats x) { return _mm512_reduce_add_ps(x); }
inline float reduce_max(Floats x) { return _mm512_reduce_max_ps(x); }

inline Ints zero_ints() { return _mm512_setzero_si512(); }
inline Ints set1_ints(int32_t x) { return _mm512_set1_epi32(x); }
inline Ints load_ints(const void* x) { return _mm512_loadu_si512(x); }
inline Ints in_registers(Ints x) { return x; }
inline Ints to_ints(Floats x) { return _mm512_cvtps_epi32(x); }
inline Floats to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }
inline void store_16(int16_t* to, Ints x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(x)); }
inline void store_8(void* to, Ints x) { _mm_storeu_si128(static_cast<__m128i*>(to), _mm512_cvtepi32_epi8(x)); }
inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline int32_t reduce_add(Ints x) { return _mm512_reduce_add_epi32(x); }
inline Ints dot_16(Ints to, Ints a, Ints b) {  // adds two products to each lane
    to = _mm512_dpwssd_epi32(to, a, b);
    asm volatile("" : "+v"(to));  // keeps the sum in its register; otherwise the compiler copies sums and spills registers
    return to;
}
inline Ints dot_8(Ints to, Ints a, Ints b) {  // adds four products to each lane; a is unsigned
    to = _mm512_dpbusd_epi32(to, a, b);
    asm volatile("" : "+v"(to));
    return to;
}

#else

constexpr int TILE_ROWS = 4, TILE_PANELS = 1;

struct Floats {
    __m256 low, high;
};
struct Ints {
    __m256i low, high;
};

inline Floats set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Floats load(const float* x) { return {_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)}; }
template <class Pair>
inline Pair in_registers(Pair x) {  // otherwise the compiler reads it from memory for each row
    asm("" : "+x"(x.low), "+x"(x.high));
    return x;
}
inline void store(float* to, Floats x) { _mm256_storeu_ps(to, x.low), _mm256_storeu_ps(to + 8, x.high); }
inline Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Floats sub(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Floats mul(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Floats div(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline Floats fmadd(Floats a, Floats b, Floats c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Floats fmsub(Floats a, Floats b, Floats c) {
    return {_mm256_fmsub_ps(a.low, b.low, c.low), _mm256_fmsub_ps(a.high, b.high, c.high)};
}
inline Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Floats min(Floats a, Floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline Floats abs(Floats x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.low), _mm256_andnot_ps(sign, x.high)};
}
inline Floats round(Floats x) { return {_mm256_round_ps(x.low, 8), _mm256_round_ps(x.high, 8)}; }
inline __m256 scale_by_power_of_two(__m256 x, __m256 whole) {  // for exponents up to 127; results below the smallest float are zero
    const __m256i power = _mm256_cvtps_epi32(_mm256_max_ps(whole, _mm256_set1_ps(-127.0f)));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(power, _mm256_set1_epi32(127)), 23)));
}
inline Floats scale_by_power_of_two(Floats x, Floats whole) { return {scale_by_power_of_two(x.low, whole.low), scale_by_power_of_two(x.high, whole.high)}; }
inline float reduce_add(Floats x) {
    const __m256 eight = _mm256_add_ps(x.low, x.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float reduce_max(Floats x) {
    const __m256 eight = _mm256_max_ps(x.low, x.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

inline Ints zero_ints() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline Ints set1_ints(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline Ints load_ints(const void* x) {
    const auto* at = static_cast<const __m256i*>(x);
    return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}
inline Ints to_ints(Floats x) { return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)}; }
inline Floats to_floats(Ints x) { return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)}; }
inline void store_16(int16_t* to, Ints x) {
    const __m256i mixed = _mm256_packs_epi32(x.low, x.high);  // quarters 0, 2, 1, 3
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(mixed, 0b11011000));
}
inline void store_8(void* to, Ints x) {
    const __m256i byte = _mm256_set1_epi32(255);
    const __m256i mixed = _mm256_packus_epi32(_mm256_and_si256(x.low, byte), _mm256_and_si256(x.high, byte));
    const __m256i words = _mm256_permute4x64_epi64(mixed, 0b11011000);
    _mm_storeu_si128(static_cast<__m128i*>(to), _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
inline Ints add(Ints a, Ints b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
inline int32_t reduce_add(Ints x) {
    const __m256i eight = _mm256_add_epi32(x.low, x.high);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 1)));
}
// Each sum is finished before the next starts, because all products at once would need too many registers.
inline __m256i dot_16(__m256i to, __m256i a, __m256i b) {
    to = _mm256_add_epi32(to, _mm256_madd_epi16(a, b));
    asm volatile("" : "+x"(to));
    return to;
}
inline Ints dot_16(Ints to, Ints a, Ints b) { return {dot_16(to.low, a.low, b.low), dot_16(to.high, a.high, b.high)}; }
// Computed in 16-bit words, because the instruction for bytes saturates at 15 bits.
inline __m256i dot_8(__m256i to, __m256i a, __m256i b) {
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(a, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
    to = _mm256_add_epi32(to, _mm256_add_epi32(even, odd));
    asm volatile("" : "+x"(to));
    return to;
}
inline Ints dot_8(Ints to, Ints a, Ints b) { return {dot_8(to.low, a.low, b.low), dot_8(to.high, a.high, b.high)}; }

#endif

inline Floats zero() { return set1(0.0f); }
inline void store_steps(int16_t* to, Ints x) { store_16(to, x); }
inline void store_steps(uint8_t* to, Ints x) { store_8(to, x); }

}  // namespace
