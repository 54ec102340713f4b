// The read-out of a block: energies from the squared norms of I, A and S, and the gradient to the last X.

// The squared norms of I, A and S of each atom: rows of (3, width)
template <typename T>
static void squared_norms(const Block<T>& b, const T* x, T* norms) {
  b.each([&](long n, int v, long at, long) {
    Vec<T> x9[9], s[3] = {};
    load9(x + at, x9);
    for (int k = 0; k < 9; ++k) s[kPart[k]] += x9[k] * x9[k];
    for (int p = 0; p < 3; ++p) store(norms + (3 * n + p) * b.w.width + v, s[p]);
  });
}

// X lies in grad before; the gradient, if asked for, after.
template <typename T>
static void read_out(const Block<T>& b, T* grad) {
  const Weights<T>& w = b.w;
  const int W = w.width;
  const long size = b.c.block_size;
  T *norms = b.rows[0], *features = b.rows[1], *slopes = b.rows[2], *deviations = slopes + size * W, *hidden = b.rows[3];
  T* head_slopes = hidden + size * w.head;
  squared_norms(b, grad, norms);
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
  const Gradients<T>* to = b.training;
  for (long n = 0; n < b.count; ++n) {
    const T seed = b.c.seeds ? b.c.seeds[b.first + n] : T(1);
    if (to) {
      *to->head_constant += seed;
      for (int v = 0; v < w.head; v += lanes<T>) add(to->head_row + v, seed * load(hidden + n * w.head + v));
    }
    T* row = head_slopes + n * w.head;
    for (int v = 0; v < w.head; v += lanes<T>) store(row + v, load(row + v) * load(w.head_row + v) * seed);
  }
  if (to) {
    sum_rows<T>(b.count, w.head, head_slopes, to->head_bias);
    outer<T>(b.count, head_slopes, w.head, features, W, to->head_1);
  }
  multiply<T>(b.count, head_slopes, w.head_1_back, features);
  scale_by<T>(static_cast<long>(b.count) * W, features, slopes);
  if (to) {
    for (long n = 0; n < b.count; ++n) affine<T>(3 * W, norms + 3 * n * W, w.read_scale, w.read_shift, hidden + 3 * n * W);
    sum_rows<T>(b.count, W, features, to->read_bias);
    outer<T>(b.count, features, W, hidden, 3 * W, to->read);
  }
  multiply<T>(b.count, features, w.read_back, hidden);
  if (to) affine_train<T>(b.count, 3 * W, hidden, norms, to->read_scale, to->read_shift);
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
