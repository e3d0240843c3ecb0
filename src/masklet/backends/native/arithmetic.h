// Exponential, GELU and reductions over rows, sixteen numbers at a time.

#pragma once

#include "simd.h"

#include <algorithm>

namespace {

inline Floats exp(Floats x) {  // for -1e4 <= x <= 0, the range of softmax; relative error below 3e-7
    const Floats whole = round(mul(x, set1(1.44269504f)));
    const Floats f = fmadd(x, set1(1.925963e-8f), fmsub(x, set1(1.44269502f), whole));
    Floats p = set1(1.5252734e-5f);
    for (const float coefficient : {1.5403530e-4f, 1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f})
        p = fmadd(p, f, set1(coefficient));
    return scale_by_power_of_two(p, whole);
}

inline Floats approximate_exp(Floats x) {  // with a relative error below 2e-4, for integer kernels
    const Floats whole = round(mul(x, set1(1.44269504f)));
    const Floats f = fmsub(x, set1(1.44269504f), whole);
    Floats p = set1(5.6171544e-2f);
    for (const float coefficient : {2.4223951e-1f, 6.9313675e-1f, 9.9992520e-1f}) p = fmadd(p, f, set1(coefficient));
    return scale_by_power_of_two(p, whole);
}

inline Floats gelu(Floats x) {  // by erf, Abramowitz and Stegun 7.1.26
    const Floats z = abs(mul(x, set1(0.70710678f)));
    const Floats t = div(set1(1.0f), fmadd(z, set1(0.3275911f), set1(1.0f)));
    Floats p = set1(1.061405429f);
    for (const float coefficient : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
        p = fmadd(p, t, set1(coefficient));
    const Floats exponent = max(sub(zero(), mul(z, z)), set1(-87.0f));
    const Floats tail = mul(mul(p, t), exp(exponent));
    const Floats erf = sub(set1(1.0f), tail);  // of |x| / sqrt 2
    const Floats half = mul(x, set1(0.5f));
    return fmadd(abs(half), erf, half);
}

inline Floats approximate_gelu(Floats x) {  // by a polynomial of the normal distribution with an error below 5e-5, for integer kernels
    const Floats z = min(max(x, set1(-4.3f)), set1(4.3f)), square = mul(z, z);
    Floats p = set1(5.1611264e-11f);
    for (const float coefficient : {-5.0362908e-09f, 2.1692756e-07f, -5.4922028e-06f, 9.223705e-05f, -0.0011027155f, 0.0098008142f, -0.066327102f, 0.39889663f})
        p = fmadd(p, square, set1(coefficient));
    return mul(x, fmadd(p, z, set1(0.5f)));
}

inline float largest_magnitude(const float* x, int d) {
    Floats most = zero();
    for (int i = 0; i < d; i += LANES) most = max(most, abs(load(x + i)));
    return std::max(reduce_max(most), 1e-30f);
}

}  // namespace
