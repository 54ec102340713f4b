// Vectors of the instruction set at hand, in the vector extension of GCC and Clang. No includes: see kernels_impl.h.

template <typename T>
struct Simd;
template <>
struct Simd<float> {
  typedef float V __attribute__((vector_size(POLCALC_BYTES)));
  typedef int I __attribute__((vector_size(POLCALC_BYTES)));
  static constexpr float magic = 12582912.0f, log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f, limit = 87.0f;
  static constexpr int bias = 127, mantissa = 23, degree = 7;
};
template <>
struct Simd<double> {
  typedef double V __attribute__((vector_size(POLCALC_BYTES)));
  typedef long I __attribute__((vector_size(POLCALC_BYTES)));
  static constexpr double magic = 6755399441055744.0, log2e = 1.4426950408889634, ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6,
                          limit = 700.0;
  static constexpr long bias = 1023;
  static constexpr int mantissa = 52, degree = 13;
};

template <typename T>
using Vec = typename Simd<T>::V;
template <typename T>
constexpr int lanes = POLCALC_BYTES / sizeof(T);

template <typename T>
static inline Vec<T> load(const T* p) { return *reinterpret_cast<const Vec<T>*>(p); }
template <typename T>
static inline void store(T* p, Vec<T> v) { *reinterpret_cast<Vec<T>*>(p) = v; }
template <typename T>
static inline Vec<T> splat(T x) { return x - Vec<T>{}; }

template <typename T, int Bytes>
static inline T fold(const T* p) {  // sum of Bytes / sizeof(T) numbers, in halves
  if constexpr (Bytes == sizeof(T)) {
    return *p;
  } else if constexpr (Bytes == 16) {
    T sum = 0;
    for (unsigned n = 0; n < Bytes / sizeof(T); ++n) sum += p[n];
    return sum;
  } else {
    typedef T H __attribute__((vector_size(Bytes / 2)));
    H low, high;
    __builtin_memcpy(&low, p, Bytes / 2);
    __builtin_memcpy(&high, p + Bytes / 2 / sizeof(T), Bytes / 2);
    low += high;
    return fold<T, Bytes / 2>(reinterpret_cast<const T*>(&low));
  }
}
template <typename T>
static inline T sum(Vec<T> v) { return fold<T, POLCALC_BYTES>(reinterpret_cast<const T*>(&v)); }

// exp by x = n ln 2 + r, |r| <= ln 2 / 2, and the Taylor polynomial of r; relative error about one rounding.
template <typename T>
static inline Vec<T> exponential(Vec<T> x) {
  using S = Simd<T>;
  using I = typename S::I;
  x = x > S::limit ? splat<T>(S::limit) : x;
  x = x < -S::limit ? splat<T>(-S::limit) : x;
  const Vec<T> shifted = x * S::log2e + S::magic;  // the integer n in the low bits
  const Vec<T> n = shifted - S::magic;
  const Vec<T> r = (x - n * S::ln2_high) - n * S::ln2_low;
  constexpr double inverse_factorial[] = {1.0,         1.0,          1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,       1.0 / 720,
                                          1.0 / 5040,  1.0 / 40320,  1.0 / 362880,  1.0 / 3628800,  1.0 / 39916800,  1.0 / 479001600, 1.0 / 6227020800.0};
  Vec<T> p = splat<T>(T(inverse_factorial[S::degree]));
#pragma GCC unroll 16
  for (int k = S::degree - 1; k >= 0; --k) p = p * r + T(inverse_factorial[k]);
  I bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + S::bias) << S::mantissa;  // the high bits fall out
  Vec<T> power;
  __builtin_memcpy(&power, &bits, sizeof bits);
  return p * power;
}

template <typename T>
static inline Vec<T> sigmoid(Vec<T> x) { return T(1) / (exponential<T>(-x) + T(1)); }
