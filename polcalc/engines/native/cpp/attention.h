// Attention between the layers: what is read from each atom, gathered over its molecule, and given back to all; see potentials/parts/attention.py.
// Gathering is the work of the first block alone: molecules know nothing of blocks, and it is little.

constexpr double kUnit = 5.0;  // of ln Σ exp, as there

// From X before anything is added: the part of each atom in the hidden layer, its values and its scores
template <typename T>
static void describe(const Block<T>& b, int layer, const T* x) {
  const AttentionWeights<T>& a = b.w.attention[layer];
  const AttentionFields<T>& f = b.c.attention[layer];
  const int W = b.w.width;
  T *standardised = b.own(f.standardised, 3 * W), *rows = b.rows[0];
  squared_norms(b, x, standardised);
  for (long n = 0; n < b.count; ++n) {
    T* row = standardised + 3 * n * W;
    standardise<T>(3 * b.w.channels, 3 * W, row, row, b.own(f.inverse_deviation, 1) + n);
    affine<T>(3 * W, row, a.norm_scale, a.norm_shift, rows + 3 * n * W);
  }
  T *values = b.own(f.values, b.w.values), *scores = b.own(f.scores, b.w.scores);
  multiply<T>(b.count, rows, a.own, b.own(f.own, W));
  multiply<T>(b.count, rows, a.values, values);
  multiply<T>(b.count, rows, a.scores, scores);
  for (long n = 0; n < b.count; ++n) {
    for (int v = 0; v < b.w.values; v += lanes<T>) add(values + n * b.w.values + v, load(a.values_bias + v));
    for (int v = 0; v < b.w.scores; v += lanes<T>) add(scores + n * b.w.scores + v, load(a.scores_bias + v));
  }
}

template <typename T>
static inline T share(const Weights<T>& w, const AttentionFields<T>& f, long n, long molecule, int head) {  // of an atom in a head, softmax
  return T(__builtin_exp(f.scores[n * w.scores + head] - f.exponents[molecule * w.scores + head]));
}

template <typename T>
static void gather(const Context<T>& c, int layer) {
  const Weights<T>& w = *c.w;
  const AttentionFields<T>& f = c.attention[layer];
  for (long m = 0; m < c.n_molecules; ++m) {
    T *exponents = f.exponents + m * w.scores, *attended = f.attended + m * w.common;
    for (int v = 0; v < w.common; ++v) attended[v] = 0;
    const int *begin = c.members + c.member_start[m], *end = c.members + c.member_start[m + 1];
    for (int h = 0; begin != end && h < w.n_heads; ++h) {
      T largest = f.scores[*begin * w.scores + h];
      for (const int* n = begin; n != end; ++n) largest = f.scores[*n * w.scores + h] > largest ? f.scores[*n * w.scores + h] : largest;
      double total = 0;
      for (const int* n = begin; n != end; ++n) total += __builtin_exp(f.scores[*n * w.scores + h] - largest);
      exponents[h] = largest + T(__builtin_log(total));
      for (const int* n = begin; n != end; ++n) {
        const T p = share(w, f, *n, m, h), *values = f.values + *n * w.values + h * w.n_values;
        for (int d = 0; d < w.n_values; ++d) attended[h * w.n_values + d] += p * values[d];
      }
      attended[w.n_heads * w.n_values + h] = (exponents[h] - T(__builtin_log(c.shared_out[m]))) / T(kUnit);
    }
  }
  multiply<T>(c.n_molecules, f.attended, w.attention[layer].common, f.shared);
}

// Give every atom its part, normalise, and mix: the Y of the layer
template <typename T>
static void attend(const Block<T>& b, int layer) {
  const AttentionWeights<T>& a = b.w.attention[layer];
  const AttentionFields<T>& f = b.c.attention[layer];
  const int W = b.w.width;
  T *rows = b.rows[0], *hidden = b.own(f.hidden, W), *added = b.own(f.added, W);
  for (long n = 0; n < b.count; ++n) {
    const long molecule = b.c.molecules[b.first + n];
    for (int v = 0; v < W; v += lanes<T>)
      store(rows + n * W + v, molecule < 0 ? Vec<T>{} : load(b.own(f.own, W) + n * W + v) + load(f.shared + molecule * W + v));
  }
  silu<T>(b.count, W, rows, a.own_bias, hidden, b.own(f.slopes, W));
  multiply<T>(b.count, hidden, a.output, added);
  for (long n = 0; n < b.count; ++n)
    if (b.c.molecules[b.first + n] < 0)
      for (int v = 0; v < W; v += lanes<T>) store(added + n * W + v, Vec<T>{});
  T *x = b.field(b.c.layers[layer].x), *scales = b.own(b.c.layers[layer].x_scale, W);
  b.each([&](long, int, long at, long row) {
    Vec<T> x9[9];
    load9(x + at, x9);
    x9[0] += load(added + row);
    store(scales + row, normalise<T>(x9));
    store9(x + at, x9);
  });
  mix<T>(b.count, x, b.w.layers[layer].mix_in, b.field(b.c.layers[layer].y));
}

// In grad: the gradient to X with what was added. It is carried on; the molecule learns what is asked of it.
template <typename T>
static void attend_back(const Block<T>& b, int layer, const T* grad) {
  const AttentionWeights<T>& a = b.w.attention[layer];
  const AttentionFields<T>& f = b.c.attention[layer];
  const int W = b.w.width;
  T *to_added = b.rows[0], *to_hidden = b.own(f.to_hidden, W), *carried = b.field(b.c.carried);
  b.each([&](long n, int, long at, long row) {
    Vec<T> g[9];
    load9(grad + at, g);
    store9(carried + at, g);
    store(to_added + row, b.c.molecules[b.first + n] < 0 ? Vec<T>{} : g[0]);
  });
  if (b.training) outer<T>(b.count, to_added, W, b.own(f.hidden, W), W, b.training->attention[layer].output);
  multiply<T>(b.count, to_added, a.output_back, to_hidden);
  scale_by<T>(static_cast<long>(b.count) * W, to_hidden, b.own(f.slopes, W));
}

template <typename T>
static void gather_back(const Block<T>& b, int layer) {
  const Context<T>& c = b.c;
  const Weights<T>& w = b.w;
  const AttentionFields<T>& f = c.attention[layer];
  for (long m = 0; m < c.n_molecules; ++m)
    for (int v = 0; v < w.width; v += lanes<T>) {
      Vec<T> total{};
      for (long k = c.member_start[m]; k < c.member_start[m + 1]; ++k) total += load(f.to_hidden + static_cast<long>(c.members[k]) * w.width + v);
      store(f.shared + m * w.width + v, total);  // in the place of what was given back to the atoms, which nothing needs any more
    }
  if (b.training) outer<T>(c.n_molecules, f.shared, w.width, f.attended, w.common, b.training->attention[layer].common);
  multiply<T>(c.n_molecules, f.shared, w.attention[layer].common_back, f.to_attended);
}

// From what is asked of the atoms to X: in carried the gradient beside it; out in grad
template <typename T>
static void describe_back(const Block<T>& b, int layer, T* grad) {
  const Context<T>& c = b.c;
  const Weights<T>& w = b.w;
  const AttentionWeights<T>& a = w.attention[layer];
  const AttentionFields<T>& f = c.attention[layer];
  const int W = w.width;
  T *to_rows = b.rows[0], *more = b.rows[1], *to_values = b.rows[2], *to_scores = to_values + static_cast<long>(w.values) * c.block_size, *rows = b.rows[3];
  const T *standardised = b.own(f.standardised, 3 * W), *to_hidden = b.own(f.to_hidden, W);
  for (long n = 0; n < b.count; ++n) {
    T *on_values = to_values + n * w.values, *on_scores = to_scores + n * w.scores;
    for (int v = 0; v < w.values; ++v) on_values[v] = 0;
    for (int v = 0; v < w.scores; ++v) on_scores[v] = 0;
    const long molecule = c.molecules[b.first + n];
    if (molecule < 0) continue;
    const T *values = b.own(f.values, w.values) + n * w.values, *attended = f.attended + molecule * w.common, *asked = f.to_attended + molecule * w.common;
    for (int h = 0; h < w.n_heads; ++h) {
      const T p = share(w, f, b.first + n, molecule, h);
      T along = asked[w.n_heads * w.n_values + h] / T(kUnit);
      for (int k = h * w.n_values; k < (h + 1) * w.n_values; ++k) {
        on_values[k] = p * asked[k];
        along += (values[k] - attended[k]) * asked[k];
      }
      on_scores[h] = p * along;
    }
  }
  if (b.training) {
    const AttentionGradients<T>& to = b.training->attention[layer];
    for (long n = 0; n < b.count; ++n) affine<T>(3 * W, standardised + 3 * n * W, a.norm_scale, a.norm_shift, rows + 3 * n * W);
    sum_rows<T>(b.count, W, to_hidden, to.own_bias);
    sum_rows<T>(b.count, w.values, to_values, to.values_bias);
    sum_rows<T>(b.count, w.scores, to_scores, to.scores_bias);
    outer<T>(b.count, to_hidden, W, rows, 3 * W, to.own);
    outer<T>(b.count, to_values, w.values, rows, 3 * W, to.values);
    outer<T>(b.count, to_scores, w.scores, rows, 3 * W, to.scores);
  }
  multiply<T>(b.count, to_hidden, a.own_back, to_rows);
  multiply<T>(b.count, to_values, a.values_back, more);
  for (long v = 0; v < 3L * W * b.count; v += lanes<T>) add(to_rows + v, load(more + v));
  multiply<T>(b.count, to_scores, a.scores_back, more);
  for (long v = 0; v < 3L * W * b.count; v += lanes<T>) add(to_rows + v, load(more + v));
  if (b.training) affine_train<T>(b.count, 3 * W, to_rows, standardised, b.training->attention[layer].norm_scale, b.training->attention[layer].norm_shift);
  for (long n = 0; n < b.count; ++n)
    standardise_back<T>(3 * w.channels, 3 * W, standardised + 3 * n * W, b.own(f.inverse_deviation, 1)[n], a.norm_scale, to_rows + 3 * n * W, to_rows + 3 * n * W);
  const T *x = b.field(c.layers[layer].x), *scales = b.own(c.layers[layer].x_scale, W), *added = b.own(f.added, W), *carried = b.field(c.carried);
  b.each([&](long n, int v, long at, long row) {
    Vec<T> x9[9], g[9];
    load9(x + at, x9);
    load9(carried + at, g);
    const Vec<T> size = T(1) / load(scales + row);  // x is X scaled
    for (int k = 0; k < 9; ++k) x9[k] *= size;
    x9[0] -= load(added + row);
    for (int k = 0; k < 9; ++k) g[k] += T(2) * x9[k] * load(to_rows + (3 * n + kPart[k]) * W + v);
    store9(grad + at, g);
  });
}
