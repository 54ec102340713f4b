// The products of potentials/ops/kernels.py for one instruction set. Included once per translation unit, inside a namespace
// of its own, after a target pragma. Everything is row-major with the channels last; rows of C channels are vectorised.

// A pair beyond the cutoff has envelope 0 and adds nothing.
template <typename T>
static void convolve(const Shape s, const long* idx_i, const long* idx_j, const T* envelope, const T* filters, const T* field, T* out) {
  const long C = s.channels, row = s.points * C;
  for (long p = 0; p < s.pairs; ++p) {
    const long i = idx_i[p] * C, j = idx_j[p] * C;
    const T e = envelope[p];
    if (e == 0) continue;
    for (int k = 0; k < 9; ++k) {
      const T* __restrict f = filters + (3 * p + kPart[k]) * C;
      const T* from_j = field + k * row + j;
      const T* from_i = field + k * row + i;
      T* to_i = out + k * row + i;
      T* to_j = out + k * row + j;
      if (i == j) {  // an image of the point itself: both directions reach the same row
        for (long c = 0; c < C; ++c) to_i[c] += 2 * e * f[c] * from_j[c];
        continue;
      }
#pragma GCC ivdep
      for (long c = 0; c < C; ++c) {
        const T weight = e * f[c];
        to_i[c] += weight * from_j[c];
        to_j[c] += weight * from_i[c];
      }
    }
  }
}

template <typename T>
static void contract(const Shape s, const long* idx_i, const long* idx_j, const T* envelope, T* filters, const T* left, const T* right) {
  const long C = s.channels, row = s.points * C;
  for (long p = 0; p < s.pairs; ++p) {
    const long i = idx_i[p] * C, j = idx_j[p] * C;
    const T e = envelope[p];
    for (int t = 0; t < 3; ++t) {
      T* __restrict f = filters + (3 * p + t) * C;
      for (long c = 0; c < C; ++c) f[c] = 0;
    }
    for (int k = 0; k < 9 && e != 0; ++k) {
      T* __restrict f = filters + (3 * p + kPart[k]) * C;
      const T *li = left + k * row + i, *lj = left + k * row + j, *ri = right + k * row + i, *rj = right + k * row + j;
      for (long c = 0; c < C; ++c) f[c] += e * (lj[c] * ri[c] + li[c] * rj[c]);
    }
  }
}

template <typename T>
static void overlap(const Shape s, const long* idx_i, const long* idx_j, T* envelope, const T* filters, const T* left, const T* right) {
  const long C = s.channels, row = s.points * C;
  for (long p = 0; p < s.pairs; ++p) {
    const long i = idx_i[p] * C, j = idx_j[p] * C;
    T sum = 0;
    for (int k = 0; k < 9; ++k) {
      const T* f = filters + (3 * p + kPart[k]) * C;
      const T *li = left + k * row + i, *lj = left + k * row + j, *ri = right + k * row + i, *rj = right + k * row + j;
#pragma omp simd reduction(+ : sum)
      for (long c = 0; c < C; ++c) sum += f[c] * (lj[c] * ri[c] + li[c] * rj[c]);
    }
    envelope[p] = sum;
  }
}

// The four slots of the pair embedding; pointers in the order filters, harmonics, species, result.
template <typename T>
static void embed_result(const Shape s, const long* idx_i, const long* idx_j, const T* filters, const T* harmonics, const T* species, T* result) {
  const long C = s.channels, row = s.points * C;
  for (long p = 0; p < s.pairs; ++p) {
    const long i = idx_i[p] * C, j = idx_j[p] * C;
    const T *ci = species + i, *cj = species + j, *ni = species + row + i, *nj = species + row + j;
    for (int k = 0; k < 9; ++k) {
      const T* f = filters + (3 * p + kPart[k]) * C;
      const T y = harmonics[9 * p + k], odd = y * T(kOdd[k]);
      T *gi = result + k * row + i, *gj = result + k * row + j;
      for (long c = 0; c < C; ++c) gi[c] += f[c] * y * (ci[c] + nj[c]);
      for (long c = 0; c < C; ++c) gj[c] += f[c] * odd * (cj[c] + ni[c]);
    }
  }
}

template <typename T>
static void embed_species(const Shape s, const long* idx_i, const long* idx_j, const T* filters, const T* harmonics, T* species, const T* result) {
  const long C = s.channels, row = s.points * C;
  for (long p = 0; p < s.pairs; ++p) {
    const long i = idx_i[p] * C, j = idx_j[p] * C;
    T *ci = species + i, *cj = species + j, *ni = species + row + i, *nj = species + row + j;
    for (int k = 0; k < 9; ++k) {
      const T* f = filters + (3 * p + kPart[k]) * C;
      const T y = harmonics[9 * p + k], odd = y * T(kOdd[k]);
      const T *gi = result + k * row + i, *gj = result + k * row + j;
      for (long c = 0; c < C; ++c) ci[c] += f[c] * y * gi[c];
      for (long c = 0; c < C; ++c) nj[c] += f[c] * y * gi[c];
      for (long c = 0; c < C; ++c) cj[c] += f[c] * odd * gj[c];
      for (long c = 0; c < C; ++c) ni[c] += f[c] * odd * gj[c];
    }
  }
}

template <typename T>
static void embed_harmonics(const Shape s, const long* idx_i, const long* idx_j, const T* filters, T* harmonics, const T* species, const T* result) {
  const long C = s.channels, row = s.points * C;
  for (long p = 0; p < s.pairs; ++p) {
    const long i = idx_i[p] * C, j = idx_j[p] * C;
    const T *ci = species + i, *cj = species + j, *ni = species + row + i, *nj = species + row + j;
    for (int k = 0; k < 9; ++k) {
      const T* f = filters + (3 * p + kPart[k]) * C;
      const T odd = T(kOdd[k]);
      const T *gi = result + k * row + i, *gj = result + k * row + j;
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (long c = 0; c < C; ++c) sum += f[c] * ((ci[c] + nj[c]) * gi[c] + odd * (cj[c] + ni[c]) * gj[c]);
      harmonics[9 * p + k] = sum;
    }
  }
}

template <typename T>
static void embed_filters(const Shape s, const long* idx_i, const long* idx_j, T* filters, const T* harmonics, const T* species, const T* result) {
  const long C = s.channels, row = s.points * C;
  for (long p = 0; p < s.pairs; ++p) {
    const long i = idx_i[p] * C, j = idx_j[p] * C;
    const T *ci = species + i, *cj = species + j, *ni = species + row + i, *nj = species + row + j;
    for (int k = 0; k < 9; ++k) {
      T* __restrict f = filters + (3 * p + kPart[k]) * C;
      const T y = harmonics[9 * p + k], odd = y * T(kOdd[k]);
      const T *gi = result + k * row + i, *gj = result + k * row + j;
      for (long c = 0; c < C; ++c) f[c] += y * (ci[c] + nj[c]) * gi[c] + odd * (cj[c] + ni[c]) * gj[c];
    }
  }
}

// Components of a 3x3 matrix in the orthonormal basis of kernels.matrix_basis, and back. `flip` transposes.
template <typename T>
struct Matrix {
  T m[3][3];
};

template <typename T>
static inline Matrix<T> unpack(const T* x, long n, long at, T flip) {
  const T third = T(0.57735026918962576451), half = T(0.70710678118654752440), sixth = T(0.40824829046386301637);
  const T iso = x[at] * third;
  const T ax = flip * half * x[n + at], ay = flip * half * x[2 * n + at], az = flip * half * x[3 * n + at];
  const T xy = half * x[4 * n + at], yz = half * x[5 * n + at], zz = sixth * x[6 * n + at], xz = half * x[7 * n + at], d = half * x[8 * n + at];
  Matrix<T> r;
  r.m[0][0] = iso - zz + d;
  r.m[1][1] = iso - zz - d;
  r.m[2][2] = iso + 2 * zz;
  r.m[0][1] = xy - az;
  r.m[1][0] = xy + az;
  r.m[0][2] = xz + ay;
  r.m[2][0] = xz - ay;
  r.m[1][2] = yz - ax;
  r.m[2][1] = yz + ax;
  return r;
}

template <typename T>
static void product(bool symmetric, int transposed, long n, const T* __restrict x, const T* __restrict y, T* __restrict out) {
  const T flip_x = transposed == 1 ? T(-1) : T(1), flip_y = transposed == 2 ? T(-1) : T(1), both = symmetric ? T(1) : T(0);
  const T third = T(0.57735026918962576451), half = T(0.70710678118654752440), sixth = T(0.40824829046386301637);
#pragma GCC ivdep
  for (long at = 0; at < n; ++at) {
    const Matrix<T> a = unpack(x, n, at, flip_x), b = unpack(y, n, at, flip_y);
    T p[3][3];
    for (int r = 0; r < 3; ++r)
      for (int c = 0; c < 3; ++c) {
        T there = 0, back = 0;
        for (int k = 0; k < 3; ++k) {
          there += a.m[r][k] * b.m[k][c];
          back += b.m[r][k] * a.m[k][c];
        }
        p[r][c] = there + both * back;
      }
    out[at] = third * (p[0][0] + p[1][1] + p[2][2]);
    out[n + at] = half * (p[2][1] - p[1][2]);
    out[2 * n + at] = half * (p[0][2] - p[2][0]);
    out[3 * n + at] = half * (p[1][0] - p[0][1]);
    out[4 * n + at] = half * (p[0][1] + p[1][0]);
    out[5 * n + at] = half * (p[1][2] + p[2][1]);
    out[6 * n + at] = sixth * (2 * p[2][2] - p[0][0] - p[1][1]);
    out[7 * n + at] = half * (p[0][2] + p[2][0]);
    out[8 * n + at] = half * (p[0][0] - p[1][1]);
  }
}

// The three slots of interpolation; K neighbouring rows of the nodes, from the first on, belong to each pair.
template <typename T>
static void interpolate_result(const Stencils s, const long* first, const T* weights, const T* nodes, T* result) {
  for (long p = 0; p < s.pairs; ++p) {
    T* __restrict out = result + p * s.features;
    for (long k = 0; k < s.width; ++k) {
      const T w = weights[p * s.width + k];
      const T* row = nodes + (first[p] + k) * s.features;
      if (k == 0)
        for (long f = 0; f < s.features; ++f) out[f] = w * row[f];
      else
        for (long f = 0; f < s.features; ++f) out[f] += w * row[f];
    }
  }
}

template <typename T>
static void interpolate_nodes(const Stencils s, const long* first, const T* weights, T* nodes, const T* result) {
  for (long p = 0; p < s.pairs; ++p) {
    const T* in = result + p * s.features;
    for (long k = 0; k < s.width; ++k) {
      const T w = weights[p * s.width + k];
      T* __restrict row = nodes + (first[p] + k) * s.features;
      for (long f = 0; f < s.features; ++f) row[f] += w * in[f];
    }
  }
}

template <typename T>
static void interpolate_weights(const Stencils s, const long* first, T* weights, const T* nodes, const T* result) {
  for (long p = 0; p < s.pairs; ++p) {
    const T* in = result + p * s.features;
    for (long k = 0; k < s.width; ++k) {
      const T* row = nodes + (first[p] + k) * s.features;
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (long f = 0; f < s.features; ++f) sum += row[f] * in[f];
      weights[p * s.width + k] = sum;
    }
  }
}

template <typename T>
static Table<T> table() {
  return {convolve<T>,     contract<T>, overlap<T>,             embed_filters<T>,     embed_harmonics<T>,    embed_species<T>,
          embed_result<T>, product<T>,  interpolate_weights<T>, interpolate_nodes<T>, interpolate_result<T>};
}
