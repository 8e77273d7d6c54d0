// exp and 2^x on vectors of floats for the kernels' softmax and sigmoid, at most 2 ulp off (measured by vector_exp_test.cpp).
// Included once per Highway target by each cpu.cpp (the guard toggles, as Highway's -inl.h convention asks).
//
// Method: x = n ln2 + r with |r| <= ln2/2 (Cody & Waite's two-part ln2), a minimax polynomial of degree 6 in r, n added to the exponent bits.
// Adding 1.5 * 2^23 rounds x to an integer and leaves it in the low bits of the sum, where a shift makes it an exponent: fewer operations than
// conversions to integer and back.
// The polynomials were fitted for least relative error on the reduced range (3.1e-9 and 2.0e-9, a twentieth of an ulp).
#include <cstdint>

#include <hwy/highway.h>

#if defined(EVOLORA_VECTOR_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_VECTOR_EXP_INL_H_
#undef EVOLORA_VECTOR_EXP_INL_H_
#else
#define EVOLORA_VECTOR_EXP_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Adding it leaves the nearest integer, biased as exponents are, in a float's low bits; |x| < 2^21.
constexpr float kRoundToBiasedExponent = 0x1.8p23f + 127.0f;

// y * 2^n, where rounded = n + kRoundToBiasedExponent, n in [-126, 127]. A product, not a sum of exponents: NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V scale_by_power_of_two(D d, V y, V rounded) {
  const hn::RebindToSigned<D> di;
  return hn::Mul(y, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, rounded))));
}

// 2^x for x <= 127. Results below the smallest normal float (x < -126) are zero; NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V vector_exp2(D d, V x) {
  const V magic = hn::Set(d, kRoundToBiasedExponent);
  const V rounded = hn::Add(x, magic);
  const V r = hn::Sub(x, hn::Sub(rounded, magic));
  V p = hn::MulAdd(r, hn::Set(d, 1.535334213e-4f), hn::Set(d, 1.339890022e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 9.618437602e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.550332410e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.402264791e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.931472029e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), scale_by_power_of_two(d, p, rounded));
}

// e^x for x <= 88. Results below the smallest normal float (x < -87.33) are zero; NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V vector_exp(D d, V x) {
  const V magic = hn::Set(d, kRoundToBiasedExponent);
  const V rounded = hn::MulAdd(x, hn::Set(d, 1.442695041f), magic);
  const V nf = hn::Sub(rounded, magic);
  // The first part has 15 bits, so its product with |n| < 2^8 is exact with or without fused arithmetic.
  const V r = hn::NegMulAdd(nf, hn::Set(d, 1.42860682e-6f), hn::NegMulAdd(nf, hn::Set(d, 0.693145751953125f), x));
  V p = hn::MulAdd(r, hn::Set(d, 1.381459902e-3f), hn::Set(d, 8.368716889e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.166838804e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.666652063e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.999999345e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3365f)), scale_by_power_of_two(d, p, rounded));
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
