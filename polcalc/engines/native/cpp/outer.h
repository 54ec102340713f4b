// Gradients by matrices: C += Aᵀ B summed over rows, A the gradient to the outputs and B the inputs; C is (outputs, inputs).
// Of a row, every kTile numbers lie together, as in gemm.h.

template <typename T, int R>
static void outer_tile(int rows, Rows<const T> a, Rows<const T> b, T* c, long c_stride) {
  constexpr int W = lanes<T>;
  const long second = W < kTile ? W : b.step;
  Vec<T> sums[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    sums[r][0] = load(c + r * c_stride);
    sums[r][1] = load(c + r * c_stride + W);
  }
  for (const T *x = a.data, *y = b.data; rows > 0; --rows, x += a.stride, y += b.stride) {
    const Vec<T> left = load(y), right = load(y + second);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      sums[r][0] += x[r] * left;
      sums[r][1] += x[r] * right;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    store(c + r * c_stride, sums[r][0]);
    store(c + r * c_stride + W, sums[r][1]);
  }
}

template <typename T>
static void outer(int rows, Rows<const T> a, int outputs, Rows<const T> b, int inputs, T* c) {
  constexpr int R = POLCALC_ROWS > 6 ? 8 : 4;
  for (int m = 0; m < outputs; m += R)
    for (int n = 0; n < inputs; n += 2 * lanes<T>)
      outer_tile<T, R>(rows, {a.data + m / kTile * a.step + m % kTile, a.stride, a.step}, {b.data + n / kTile * b.step + n % kTile, b.stride, b.step},
                       c + static_cast<long>(m) * inputs + n, inputs);
}

template <typename T>
static void outer(int rows, const T* a, int outputs, const T* b, int inputs, T* c) {
  outer<T>(rows, {a, outputs, kTile}, outputs, {b, inputs, kTile}, inputs, c);
}

// Of mixed fields: `grad` to the output and `in`
template <typename T>
static void mix_outer(int rows, const T* grad, const T* in, int width, T* const* to) {
  const long atom = 9L * width;
  for (int k = 0; k < 9; ++k) outer<T>(rows, {grad + k * kTile, atom, 9 * kTile}, width, {in + k * kTile, atom, 9 * kTile}, width, to[kPart[k]]);
}

template <typename T>
static void sum_rows(int rows, int length, const T* x, T* to) {
  for (; rows > 0; --rows, x += length)
    for (int v = 0; v < length; v += lanes<T>) store(to + v, load(to + v) + load(x + v));
}

// Of scale and shift after standardisation
template <typename T>
static void affine_train(int rows, int length, const T* grad, const T* standardised, T* scale, T* shift) {
  sum_rows<T>(rows, length, grad, shift);
  for (; rows > 0; --rows, grad += length, standardised += length)
    for (int v = 0; v < length; v += lanes<T>) store(scale + v, load(scale + v) + load(grad + v) * load(standardised + v));
}
