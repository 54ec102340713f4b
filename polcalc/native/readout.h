// The read-out of a block: energies from the squared norms of I, A and S, and the gradient to the last X.

// X lies in grad before; the gradient, if asked for, after.
template <typename T>
static void read_out(const Block<T>& b, T* grad) {
  const Weights<T>& w = b.w;
  const int W = w.width;
  const long size = b.c.block_size;
  T *norms = b.rows[0], *features = b.rows[1], *slopes = b.rows[2], *deviations = slopes + size * W, *hidden = b.rows[3];
  T* head_slopes = hidden + size * w.head;
  b.each([&](long n, int v, long at, long) {
    Vec<T> x[9], s[3] = {};
    load9(grad + at, x);
    for (int k = 0; k < 9; ++k) s[kPart[k]] += x[k] * x[k];
    for (int p = 0; p < 3; ++p) store(norms + (3 * n + p) * W + v, s[p]);
  });
  for (long n = 0; n < b.count; ++n) {
    T* row = norms + 3 * n * W;
    standardise<T>(3 * w.channels, 3 * W, row, row, deviations + n);
    affine<T>(3 * W, row, w.read_scale, w.read_shift, features + 3 * n * W);
  }
  multiply<T>(b.count, features, w.read, hidden);
  silu<T>(b.count, W, hidden, w.read_bias, features, slopes);
  multiply<T>(b.count, features, w.head_1, hidden);
  silu<T>(b.count, w.head, hidden, w.head_bias, hidden, head_slopes);
  for (long n = 0; n < b.count; ++n) {
    Vec<T> total{};
    for (int v = 0; v < w.head; v += lanes<T>) total += load(hidden + n * w.head + v) * load(w.head_row + v);
    b.c.energies[b.first + n] = double(sum<T>(total)) + double(w.head_constant);
  }
  if (!b.c.gradients) return;
  for (long n = 0; n < b.count; ++n) scale_by<T>(w.head, head_slopes + n * w.head, w.head_row);
  multiply<T>(b.count, head_slopes, w.head_1_back, features);
  scale_by<T>(static_cast<long>(b.count) * W, features, slopes);
  multiply<T>(b.count, features, w.read_back, hidden);
  for (long n = 0; n < b.count; ++n) {
    T* row = hidden + 3 * n * W;
    standardise_back<T>(3 * w.channels, 3 * W, norms + 3 * n * W, deviations[n], w.read_scale, row, row);
  }
  b.each([&](long n, int v, long at, long) {
    Vec<T> x[9];
    load9(grad + at, x);
    for (int k = 0; k < 9; ++k) x[k] *= T(2) * load(hidden + (3 * n + kPart[k]) * W + v);
    store9(grad + at, x);
  });
}
