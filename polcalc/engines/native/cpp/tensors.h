// Nine components of a 3x3 matrix per channel, a vector of channels at a time.

// The matrix of the components, row by row, and back; the basis is orthonormal, so that each is the transpose of the other.
template <typename T>
static inline void to_matrix(const Vec<T>* c, Vec<T>* e) {
  constexpr T third = T(0.57735026918962576), sixth = T(0.40824829046386302), half = T(0.70710678118654752);
  const Vec<T> trace = c[0] * third, around = trace - c[6] * sixth, across = c[8] * half;
  e[0] = around + across;
  e[4] = around - across;
  e[8] = trace + c[6] * (2 * sixth);
  e[7] = (c[5] + c[1]) * half;
  e[5] = (c[5] - c[1]) * half;
  e[2] = (c[7] + c[2]) * half;
  e[6] = (c[7] - c[2]) * half;
  e[3] = (c[4] + c[3]) * half;
  e[1] = (c[4] - c[3]) * half;
}

template <typename T>
static inline void to_components(const Vec<T>* e, Vec<T>* c) {
  constexpr T third = T(0.57735026918962576), sixth = T(0.40824829046386302), half = T(0.70710678118654752);
  const Vec<T> plane = e[0] + e[4];
  c[0] = (plane + e[8]) * third;
  c[6] = (T(2) * e[8] - plane) * sixth;
  c[8] = (e[0] - e[4]) * half;
  c[1] = (e[7] - e[5]) * half;
  c[5] = (e[7] + e[5]) * half;
  c[2] = (e[2] - e[6]) * half;
  c[7] = (e[2] + e[6]) * half;
  c[3] = (e[3] - e[1]) * half;
  c[4] = (e[3] + e[1]) * half;
}

// out = (a or aᵀ)(b or bᵀ), added to out if Add
template <typename T, bool TransposeA, bool TransposeB, bool Add>
static inline void matrix_product(const Vec<T>* a, const Vec<T>* b, Vec<T>* out) {
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j) {
      Vec<T> s = a[TransposeA ? i : 3 * i] * b[TransposeB ? 3 * j : j];
      if (Add) s = out[3 * i + j] + a[TransposeA ? i : 3 * i] * b[TransposeB ? 3 * j : j];
      s += a[TransposeA ? 3 + i : 3 * i + 1] * b[TransposeB ? 3 * j + 1 : 3 + j];
      s += a[TransposeA ? 6 + i : 3 * i + 2] * b[TransposeB ? 3 * j + 2 : 6 + j];
      out[3 * i + j] = s;
    }
}

// P = a (Y M + M Y) or 2 Y M
template <typename T>
static inline void product(bool one_sided, const Vec<T>* y, const Vec<T>* m, Vec<T> factor, Vec<T>* out) {
  Vec<T> a[9], b[9], p[9];
  to_matrix<T>(y, a);
  to_matrix<T>(m, b);
  matrix_product<T, false, false, false>(a, b, p);
  if (one_sided)
    factor = splat<T>(2);
  else
    matrix_product<T, false, false, true>(b, a, p);
  to_components<T>(p, out);
  for (int k = 0; k < 9; ++k) out[k] *= factor;
}

// Gradients to Y and M of the product, given the gradient to P
template <typename T>
static inline void product_back(bool one_sided, const Vec<T>* y, const Vec<T>* m, Vec<T> factor, const Vec<T>* grad, Vec<T>* to_y, Vec<T>* to_m) {
  Vec<T> a[9], b[9], g[9], r[9];
  to_matrix<T>(grad, g);
  if (one_sided) factor = splat<T>(2);
  for (int k = 0; k < 9; ++k) g[k] *= factor;
  to_matrix<T>(m, b);
  matrix_product<T, false, true, false>(g, b, r);
  if (!one_sided) matrix_product<T, true, false, true>(b, g, r);
  to_components<T>(r, to_y);
  to_matrix<T>(y, a);
  matrix_product<T, true, false, false>(a, g, r);
  if (!one_sided) matrix_product<T, false, true, true>(g, a, r);
  to_components<T>(r, to_m);
}

// out = x + d + a d²
template <typename T>
static inline void update(const Vec<T>* x, const Vec<T>* d, Vec<T> factor, Vec<T>* out) {
  Vec<T> e[9], s[9], c[9];
  to_matrix<T>(d, e);
  matrix_product<T, false, false, false>(e, e, s);
  to_components<T>(s, c);
  for (int k = 0; k < 9; ++k) out[k] = x[k] + d[k] + factor * c[k];
}

// Gradient to d of the update
template <typename T>
static inline void update_back(const Vec<T>* d, Vec<T> factor, const Vec<T>* grad, Vec<T>* to_d) {
  Vec<T> e[9], g[9], r[9], c[9];
  to_matrix<T>(d, e);
  to_matrix<T>(grad, g);
  matrix_product<T, false, true, false>(g, e, r);
  matrix_product<T, true, false, true>(e, g, r);
  to_components<T>(r, c);
  for (int k = 0; k < 9; ++k) to_d[k] = grad[k] + factor * c[k];
}

template <typename T>
static inline Vec<T> dot(const Vec<T>* a, const Vec<T>* b);

// Gradient to the factor of the update
template <typename T>
static inline Vec<T> square_along(const Vec<T>* d, const Vec<T>* grad) {
  Vec<T> e[9], s[9], c[9];
  to_matrix<T>(d, e);
  matrix_product<T, false, false, false>(e, e, s);
  to_components<T>(s, c);
  return dot<T>(grad, c);
}

template <typename T>
static inline Vec<T> dot(const Vec<T>* a, const Vec<T>* b) {
  Vec<T> s = a[0] * b[0];
  for (int k = 1; k < 9; ++k) s += a[k] * b[k];
  return s;
}

// Where channel v of an atom starts in a field of nine components
static inline long nine(int v) { return v / kTile * (9 * kTile) + v % kTile; }

template <typename T>
static inline void load9(const T* p, Vec<T>* v) {
#pragma GCC unroll 9
  for (int k = 0; k < 9; ++k) v[k] = load(p + k * kTile);
}
template <typename T>
static inline void store9(T* p, const Vec<T>* v) {
#pragma GCC unroll 9
  for (int k = 0; k < 9; ++k) store(p + k * kTile, v[k]);
}

// x = X / (‖X‖ + 1) in place; returns the scale. And its gradient: given x and the gradient to x, that to X.
template <typename T>
static inline Vec<T> normalise(Vec<T>* x) {
  const Vec<T> scale = T(1) / (dot<T>(x, x) + T(1));
  for (int k = 0; k < 9; ++k) x[k] *= scale;
  return scale;
}
template <typename T>
static inline void normalise_back(const Vec<T>* x, Vec<T> scale, Vec<T>* grad) {
  const Vec<T> along = T(2) * dot<T>(grad, x);
  for (int k = 0; k < 9; ++k) grad[k] = scale * grad[k] - along * x[k];
}
