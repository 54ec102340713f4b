// What the phases share: a block of atoms, filters read from tables, and functions of rows of channels.

template <typename T>
struct Block {  // a block of atoms; its scratch: two fields, and four rows of the widest kind for each atom
  const Context<T>& c;
  const Weights<T>& w;
  const long first;
  const int count;
  const Gradients<T>* const training;  // where this thread adds gradients by the weights, or null
  T *scratch_a, *scratch_b, *rows[4];

  Block(const Context<T>& context, int block, int thread)
      : c(context), w(*context.w), first(c.block_start[block]), count(c.block_start[block + 1] - c.block_start[block]), training(c.training ? c.training + thread : nullptr) {
    const long row = widest(w);
    scratch_a = c.scratch + thread * c.scratch_size;
    scratch_b = scratch_a + 9L * w.width * c.block_size;
    for (int k = 0; k < 4; ++k) rows[k] = scratch_b + (9L * w.width + k * row) * c.block_size;
  }

  // The part of an array that is this block's, `size` numbers for each atom
  template <typename N>
  N* own(N* array, long size) const { return array + size * first; }
  T* field(T* array) const { return array + 9L * w.width * first; }
  Vec<T> factor(int layer, long n, int v) const { return load(c.layers[layer].factor + c.layers[layer].factor_stride * (first + n) + v); }

  T* factor_place(T* gradients, int layer, long n, int v) const { return gradients + c.layers[layer].factor_stride * (first + n) + v; }

  // Call f(n, v, place in a field, place in rows of width) for every vector of channels of every atom
  template <typename F>
  void each(F f) const {
    for (long n = 0; n < count; ++n)
      for (int v = 0; v < w.width; v += lanes<T>) f(n, v, 9 * w.width * n + nine(v), w.width * n + v);
  }
  // Call f(edge index, group size) for the edges of an atom, in groups and then one by one
  template <typename F, typename One>
  void groups(long n, F f, One one) const {
    long e = c.row_start[first + n];
    const long end = c.row_start[first + n + 1];
    for (; e + POLCALC_GROUP <= end; e += POLCALC_GROUP) f(e);
    for (; e < end; ++e) one(e);
  }
};

// ---- filters of an edge: cubic in the position within an interval; the slope is that by the position

template <typename T>
static inline const T* entry_of(const T* table, const Edge<T>& edge, int v) {
  return table + edge.entry + static_cast<long>(v / kTile) * (kCoefficients * kTile) + v % kTile;
}
template <typename T>
static inline Vec<T> filter_value(const T* entry, int part, T t) {
  const T* p = entry + part * 4 * kTile;
  return load(p) + t * (load(p + kTile) + t * (load(p + 2 * kTile) + t * load(p + 3 * kTile)));
}
template <typename T>
static inline Vec<T> filter_both(const T* entry, int part, const Edge<T>& edge, Vec<T>& slope) {
  const T* p = entry + part * 4 * kTile;
  const Vec<T> c1 = load(p + kTile), c2 = load(p + 2 * kTile), c3 = load(p + 3 * kTile);
  slope = c1 + edge.t2 * c2 + edge.t3 * c3;
  return load(p) + edge.t * (c1 + edge.t * (c2 + edge.t * c3));
}

template <typename T>
static inline void add(T* to, Vec<T> x) { store(to, load(to) + x); }
// The gradient of a value to the cubic it was read from
template <typename T>
static inline void add_to_table(T* table, const Edge<T>& edge, int v, int part, Vec<T> gradient) {
  T* p = const_cast<T*>(entry_of(static_cast<const T*>(table), edge, v)) + part * 4 * kTile;
  for (int power = 0; power < 4; ++power, p += kTile, gradient *= edge.t) add(p, gradient);
}

// ---- rows: standardise n numbers (the padding holds zeros and does not count), and the gradient of it

template <typename T>
static void standardise(int n, int length, const T* x, T* out, T* inverse_deviation) {
  Vec<T> total{};
  for (int v = 0; v < length; v += lanes<T>) total += load(x + v);
  const T mean = sum<T>(total) / T(n);
  Vec<T> squares{};
  for (int v = 0; v < length; v += lanes<T>) {
    const Vec<T> d = load(x + v) - mean;
    squares += d * d;
  }
  const T variance = (sum<T>(squares) - T(length - n) * mean * mean) / T(n);
  const T scale = T(1) / T(__builtin_sqrt(variance + T(1e-5)));  // epsilon of torch.nn.LayerNorm
  *inverse_deviation = scale;
  for (int v = 0; v < length; v += lanes<T>) store(out + v, (load(x + v) - mean) * scale);
}
template <typename T>
static void standardise_back(int n, int length, const T* standardised, T inverse_deviation, const T* scale, const T* grad, T* out) {
  Vec<T> total{}, along{};
  for (int v = 0; v < length; v += lanes<T>) {
    const Vec<T> g = load(grad + v) * load(scale + v);  // the scale of the padding is zero
    total += g;
    along += g * load(standardised + v);
  }
  const T mean = sum<T>(total) / T(n), slope = sum<T>(along) / T(n);
  for (int v = 0; v < length; v += lanes<T>)
    store(out + v, inverse_deviation * (load(grad + v) * load(scale + v) - mean - slope * load(standardised + v)));
}
template <typename T>
static void affine(int length, const T* x, const T* scale, const T* shift, T* out) {
  for (int v = 0; v < length; v += lanes<T>) store(out + v, load(x + v) * load(scale + v) + load(shift + v));
}
// SiLU of x + bias, and its slope
template <typename T>
static void silu(int rows, int length, const T* x, const T* bias, T* value, T* slope) {
  for (long r = 0; r < rows; ++r, x += length, value += length, slope += length)
    for (int v = 0; v < length; v += lanes<T>) {
      const Vec<T> z = load(x + v) + load(bias + v), s = sigmoid<T>(z);
      store(value + v, z * s);
      store(slope + v, s * (T(1) + z * (T(1) - s)));
    }
}
template <typename T>
static void copy(long length, const T* x, T* to) {
  for (long v = 0; v < length; v += lanes<T>) store(to + v, load(x + v));
}
template <typename T>
static void scale_by(long length, T* x, const T* by) {
  for (long v = 0; v < length; v += lanes<T>) store(x + v, load(x + v) * load(by + v));
}
