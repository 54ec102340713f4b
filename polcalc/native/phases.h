// The phases of an evaluation. A task is a phase on a block of atoms; between phases all threads wait for each other.
//   0              embedding, and the first Y
//   1 … L          layer l = phase - 1: messages, product, update; then the next Y, or the read-out and the way back to dE/dM
//   L + 1 … 2L     layer l = 2L - phase: gradients through the messages; then the layer below, or the embedding and the pairs

template <typename T>
struct Block {  // a block of atoms and where its fields start
  const Context<T>& c;
  const Weights<T>& w;
  int first, count;
  long component, nine, one;  // distance between components, and offsets of the block
  T *scratch_a, *scratch_b, *rows[4];

  Block(const Context<T>& context, int block, int thread) : c(context), w(*context.w) {
    first = c.block_start[block];
    count = c.block_start[block + 1] - first;
    component = static_cast<long>(c.stride) * w.width;
    nine = 9 * component * block;
    one = component * block;
    const long row = 3L * w.width > w.hidden ? 3L * w.width : w.hidden;
    scratch_a = c.scratch + thread * c.scratch_size;
    scratch_b = scratch_a + 9 * component;
    for (int k = 0; k < 4; ++k) rows[k] = scratch_b + 9 * component + k * row * c.stride;
  }
  Vec<T> factor(int layer, int atom, int v) const { return load(c.layers[layer].factor + c.layers[layer].factor_stride * (first + atom) + v); }
};

// Filters of an edge at the channels from v on: cubic in the position within the interval. Value, and slope times the spacing.
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
static inline Vec<T> filter_slope(const T* entry, int part, T t2, T t3) {
  const T* p = entry + part * 4 * kTile;
  return load(p + kTile) + t2 * load(p + 2 * kTile) + t3 * load(p + 3 * kTile);
}

// Rows: standardise over n numbers (of which the padding is not one), and the gradient of it.
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
  const T variance = (sum<T>(squares) - T(length - n) * mean * mean) / T(n);  // padding holds zeros
  const T scale = T(1) / T(__builtin_sqrt(variance + T(1e-5)));               // epsilon of torch.nn.LayerNorm
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
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < length; v += lanes<T>) {
      const Vec<T> z = load(x + static_cast<long>(r) * length + v) + load(bias + v), s = sigmoid<T>(z);
      store(value + static_cast<long>(r) * length + v, z * s);
      store(slope + static_cast<long>(r) * length + v, s * (T(1) + z * (T(1) - s)));
    }
}
template <typename T>
static void scale_by(long length, T* x, const T* by) {
  for (long v = 0; v < length; v += lanes<T>) store(x + v, load(x + v) * load(by + v));
}

// ---- embedding

// Edges are taken in small groups, all channels of a group in turn: the tables are then read in long runs, which the processor
// fetches ahead, and the sums of an atom are loaded and stored once per group.
template <typename T, int G>
static void embed_group(const Block<T>& b, const Edge<T>* edges, const T* receiving, T* to) {
  const int W = b.w.width;
  for (int v = 0; v < W; v += lanes<T>) {
    Vec<T> z[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) z[g] = load(receiving + v) + load(b.w.species + edges[g].species + W + v);
#pragma GCC unroll 3
    for (int part = 0; part < 3; ++part) {
      Vec<T> f[G];
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) f[g] = z[g] * filter_value(entry_of(b.w.table, edges[g], v), part, edges[g].t);
#pragma GCC unroll 5
      for (int k = kFirst[part]; k < kFirst[part + 1]; ++k) {
        Vec<T> x = load(to + k * b.component + v);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) x += k == 0 ? f[g] : edges[g].harmonics[k == 0 ? 0 : k - 1] * f[g];
        store(to + k * b.component + v, x);
      }
    }
  }
}

template <typename T>
static void embed_neighbours(const Block<T>& b, T* norms) {
  const Context<T>& c = b.c;
  const int W = b.w.width;
  for (int n = 0; n < b.count; ++n) {
    const int atom = b.first + n;
    const T* species = b.w.species + c.species[atom];
    T* to = c.tensors + b.nine + static_cast<long>(n) * W;
    for (int k = 0; k < 9; ++k)
      for (int v = 0; v < W; v += lanes<T>) store(to + k * b.component + v, Vec<T>{});
    long e = c.row_start[atom];
    const long end = c.row_start[atom + 1];
    for (; e + POLCALC_GROUP <= end; e += POLCALC_GROUP) embed_group<T, POLCALC_GROUP>(b, c.edges + e, species, to);
    for (; e < end; ++e) embed_group<T, 1>(b, c.edges + e, species, to);
    for (int v = 0; v < W; v += lanes<T>) {
      Vec<T> x[9];
      load9(to + v, b.component, x);
      x[0] = x[0] * T(1.7320508075688772) + load(b.w.self_loop + v) * (load(species + v) + load(species + W + v));
      store(to + v, x[0]);
      store(norms + static_cast<long>(n) * W + v, dot<T>(x, x));
    }
  }
}

template <typename T>
static void embed(const Block<T>& b) {
  const Context<T>& c = b.c;
  const Weights<T>& w = b.w;
  const int W = w.width;
  T *norms = b.rows[0], *gates = c.gates + 3 * b.one, *slopes = c.gate_slopes + 3 * b.one;
  embed_neighbours(b, norms);
  for (int n = 0; n < b.count; ++n) {
    T* standardised = c.standardised + b.one + static_cast<long>(n) * W;
    standardise<T>(w.channels, W, norms + static_cast<long>(n) * W, standardised, c.inverse_deviation + b.one / W + n);
    affine<T>(W, standardised, w.norm_scale, w.norm_shift, norms + static_cast<long>(n) * W);
  }
  multiply<T>(b.count, norms, w.gate_1, b.rows[1]);
  silu<T>(b.count, w.hidden, b.rows[1], w.gate_bias_1, b.rows[2], c.hidden_slopes + b.one / W * w.hidden);
  multiply<T>(b.count, b.rows[2], w.gate_2, b.rows[1]);
  silu<T>(b.count, 3 * W, b.rows[1], w.gate_bias_2, gates, slopes);
  mix<T>(b.count, b.component, c.tensors + b.nine, w.mix, c.mixed + b.nine);
  const LayerFields<T>& f = c.layers[0];
  for (int n = 0; n < b.count; ++n)
    for (int v = 0; v < W; v += lanes<T>) {
      const long at = static_cast<long>(n) * W + v;
      Vec<T> x[9];
      load9(c.mixed + b.nine + at, b.component, x);
      for (int k = 0; k < 9; ++k) x[k] *= load(gates + (3L * n + kPart[k]) * W + v);
      store(f.x_scale + b.one + at, normalise<T>(x));
      store9(f.x + b.nine + at, b.component, x);
    }
  mix<T>(b.count, b.component, f.x + b.nine, w.layers[0].mix_in, f.y + b.nine);
}

// Gradient of the pair embedding, edge by edge: to the length and to the direction; grad is that to the tensors.
template <typename T>
static void embed_edges_back(const Block<T>& b, const T* grad) {
  const Context<T>& c = b.c;
  const int W = b.w.width;
  for (int n = 0; n < b.count; ++n) {
    const int atom = b.first + n;
    const T* receiving = b.w.species + c.species[atom];
    for (long e = c.row_start[atom]; e < c.row_start[atom + 1]; ++e) {
      const Edge<T>& edge = c.edges[e];
      Vec<T> along{}, q[8] = {};
      for (int v = 0; v < W; v += lanes<T>) {
        const T* entry = entry_of(b.w.table, edge, v);
        const T* g = grad + static_cast<long>(n) * W + v;
        const Vec<T> z = load(receiving + v) + load(b.w.species + edge.species + W + v);
        const Vec<T> fa = z * filter_value(entry, 1, edge.t), fs = z * filter_value(entry, 2, edge.t);
        Vec<T> on_a{}, on_s{};
#pragma GCC unroll 3
        for (int k = 0; k < 3; ++k) {
          const Vec<T> gk = load(g + (k + 1) * b.component);
          on_a += edge.harmonics[k] * gk;
          q[k] += fa * gk;
        }
#pragma GCC unroll 5
        for (int k = 3; k < 8; ++k) {
          const Vec<T> gk = load(g + (k + 1) * b.component);
          on_s += edge.harmonics[k] * gk;
          q[k] += fs * gk;
        }
        const Vec<T> slope_i = filter_slope(entry, 0, edge.t2, edge.t3) * (load(g) * T(1.7320508075688772));
        along += z * (slope_i + filter_slope(entry, 1, edge.t2, edge.t3) * on_a + filter_slope(entry, 2, edge.t2, edge.t3) * on_s);
      }
      double s[8];
      for (int k = 0; k < 8; ++k) s[k] = sum<T>(q[k]);
      Geometry& geo = c.geometry[e];
      const double r = 1.4142135623730951, h = 0.81649658092772603, x = geo.unit[0], y = geo.unit[1], z = geo.unit[2];
      const double to_unit[3] = {r * (s[0] + y * s[3] + z * s[6] + x * s[7]) - h * x * s[5], r * (s[1] + x * s[3] + z * s[4] - y * s[7]) - h * y * s[5],
                                 r * (s[2] + y * s[4] + x * s[6]) + 2 * h * z * s[5]};
      const double radial = x * to_unit[0] + y * to_unit[1] + z * to_unit[2];
      const double total = (geo.along + sum<T>(along)) * b.w.inverse_spacing;
      for (int k = 0; k < 3; ++k) geo.gradient[k] = total * geo.unit[k] + (to_unit[k] - radial * geo.unit[k]) / geo.length;
    }
  }
}

// From the gradient to the normalised first x, in grad, to that of every pair. Uses both scratch fields.
template <typename T>
static void embed_back(const Block<T>& b, T* grad, T* other) {
  const Context<T>& c = b.c;
  const Weights<T>& w = b.w;
  const int W = w.width;
  T *to_gates = b.rows[0], *gates = c.gates + 3 * b.one;
  for (int n = 0; n < b.count; ++n)
    for (int v = 0; v < W; v += lanes<T>) {
      const long at = static_cast<long>(n) * W + v;
      Vec<T> g[9], x[9], to_gate[3] = {};
      load9(grad + at, b.component, g);
      load9(c.mixed + b.nine + at, b.component, x);
      for (int k = 0; k < 9; ++k) {
        to_gate[kPart[k]] += g[k] * x[k];
        g[k] *= load(gates + (3L * n + kPart[k]) * W + v);
      }
      for (int p = 0; p < 3; ++p) store(to_gates + (3L * n + p) * W + v, to_gate[p]);
      store9(grad + at, b.component, g);
    }
  scale_by<T>(3L * b.count * W, to_gates, c.gate_slopes + 3 * b.one);
  multiply<T>(b.count, to_gates, w.gate_2_back, b.rows[1]);
  scale_by<T>(static_cast<long>(b.count) * w.hidden, b.rows[1], c.hidden_slopes + b.one / W * w.hidden);
  multiply<T>(b.count, b.rows[1], w.gate_1_back, b.rows[0]);
  mix<T>(b.count, b.component, grad, w.mix_back, other);
  for (int n = 0; n < b.count; ++n) {
    const long row = static_cast<long>(n) * W;
    T* to_norm = b.rows[1] + row;
    standardise_back<T>(w.channels, W, c.standardised + b.one + row, c.inverse_deviation[b.one / W + n], w.norm_scale, b.rows[0] + row, to_norm);
    for (int v = 0; v < W; v += lanes<T>) {
      const Vec<T> g = T(2) * load(to_norm + v);
      for (int k = 0; k < 9; ++k) {
        T* at = other + k * b.component + row + v;
        store(at, load(at) + g * load(c.tensors + b.nine + k * b.component + row + v));
      }
    }
  }
  embed_edges_back(b, other);
}

// ---- layers

template <typename T, int G>
static void message_group(const Block<T>& b, const T* table, const Edge<T>* edges, const T* field, T* to) {
  for (int v = 0; v < b.w.width; v += lanes<T>)
#pragma GCC unroll 3
    for (int part = 0; part < 3; ++part) {
      Vec<T> f[G];
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) f[g] = filter_value(entry_of(table, edges[g], v), part, edges[g].t);
#pragma GCC unroll 5
      for (int k = kFirst[part]; k < kFirst[part + 1]; ++k) {
        Vec<T> m = load(to + k * b.component + v);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) m += f[g] * load(field + edges[g].node + k * b.component + v);
        store(to + k * b.component + v, m);
      }
    }
}

// Messages M_i = Σ_j f_ij Y_j + f(0) Y_i, then the product with Y and its normalisation.
template <typename T>
static void messages(const Block<T>& b, int layer) {
  const Context<T>& c = b.c;
  const LayerWeights<T>& w = b.w.layers[layer];
  const LayerFields<T>& f = c.layers[layer];
  const int W = b.w.width;
  for (int n = 0; n < b.count; ++n) {
    const int atom = b.first + n;
    const long row = b.nine + static_cast<long>(n) * W;
    for (int k = 0; k < 9; ++k)
      for (int v = 0; v < W; v += lanes<T>) store(f.m + row + k * b.component + v, load(f.y + row + k * b.component + v) * load(w.self_loop + kPart[k] * W + v));
    long e = c.row_start[atom];
    const long end = c.row_start[atom + 1];
    for (; e + POLCALC_GROUP <= end; e += POLCALC_GROUP) message_group<T, POLCALC_GROUP>(b, w.table, c.edges + e, f.y, f.m + row);
    for (; e < end; ++e) message_group<T, 1>(b, w.table, c.edges + e, f.y, f.m + row);
    for (int v = 0; v < W; v += lanes<T>) {
      Vec<T> y[9], m[9], p[9];
      load9(f.y + row + v, b.component, y);
      load9(f.m + row + v, b.component, m);
      product<T>(b.w.one_sided, y, m, b.factor(layer, n, v), p);
      store(f.c_scale + b.one + static_cast<long>(n) * W + v, normalise<T>(p));
      store9(f.c + row + v, b.component, p);
    }
  }
}

// The way back through a layer as far as it is local. In: gradient to the output. Out: `carried` keeps it, m becomes the
// gradient to the messages, and d that to Y but for the neighbours.
template <typename T>
static void layer_back(const Block<T>& b, int layer, const T* grad, T* other) {
  const Context<T>& c = b.c;
  const LayerWeights<T>& w = b.w.layers[layer];
  const LayerFields<T>& f = c.layers[layer];
  const int W = b.w.width;
  for (int n = 0; n < b.count; ++n)
    for (int v = 0; v < W; v += lanes<T>) {
      const long at = static_cast<long>(n) * W + v;
      Vec<T> g[9], d[9], to_d[9];
      load9(grad + at, b.component, g);
      load9(f.d + b.nine + at, b.component, d);
      store9(c.carried + b.nine + at, b.component, g);
      update_back<T>(d, b.factor(layer, n, v), g, to_d);
      store9(f.d + b.nine + at, b.component, to_d);
    }
  mix<T>(b.count, b.component, f.d + b.nine, w.mix_out_back, other);
  for (int n = 0; n < b.count; ++n)
    for (int v = 0; v < W; v += lanes<T>) {
      const long at = static_cast<long>(n) * W + v;
      Vec<T> g[9], x[9], y[9], to_y[9], to_m[9];
      load9(other + at, b.component, g);
      load9(f.c + b.nine + at, b.component, x);
      normalise_back<T>(x, load(f.c_scale + b.one + at), g);
      load9(f.y + b.nine + at, b.component, y);
      load9(f.m + b.nine + at, b.component, x);
      product_back<T>(b.w.one_sided, y, x, b.factor(layer, n, v), g, to_y, to_m);
#pragma GCC unroll 9
      for (int k = 0; k < 9; ++k) to_y[k] += to_m[k] * load(w.self_loop + kPart[k] * W + v);
      store9(f.m + b.nine + at, b.component, to_m);
      store9(f.d + b.nine + at, b.component, to_y);
    }
}

template <typename T, int G>
static void message_group_back(const Block<T>& b, const T* table, const Edge<T>* edges, const T* field, const T* from, T* to, Geometry* geometry) {
  Vec<T> along[G] = {};
  for (int v = 0; v < b.w.width; v += lanes<T>)
#pragma GCC unroll 3
    for (int part = 0; part < 3; ++part) {
      Vec<T> f[G], on[G] = {};
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) f[g] = filter_value(entry_of(table, edges[g], v), part, edges[g].t);
#pragma GCC unroll 5
      for (int k = kFirst[part]; k < kFirst[part + 1]; ++k) {
        const Vec<T> y = load(from + k * b.component + v);
        Vec<T> total = load(to + k * b.component + v);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
          const Vec<T> grad = load(field + edges[g].node + k * b.component + v);
          total += f[g] * grad;
          on[g] += y * grad;
        }
        store(to + k * b.component + v, total);
      }
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) along[g] += filter_slope(entry_of(table, edges[g], v), part, edges[g].t2, edges[g].t3) * on[g];
    }
  for (int g = 0; g < G; ++g) geometry[g].along += sum<T>(along[g]);
}

// Gradients through the messages: to Y, in place of d, and to the length of every edge of the block.
template <typename T>
static void messages_back(const Block<T>& b, int layer) {
  const Context<T>& c = b.c;
  const LayerFields<T>& f = c.layers[layer];
  const T* table = b.w.layers[layer].table;
  for (int n = 0; n < b.count; ++n) {
    const long row = b.nine + static_cast<long>(n) * b.w.width;
    long e = c.row_start[b.first + n];
    const long end = c.row_start[b.first + n + 1];
    for (; e + POLCALC_GROUP <= end; e += POLCALC_GROUP)
      message_group_back<T, POLCALC_GROUP>(b, table, c.edges + e, f.m, f.y + row, f.d + row, c.geometry + e);
    for (; e < end; ++e) message_group_back<T, 1>(b, table, c.edges + e, f.m, f.y + row, f.d + row, c.geometry + e);
  }
}

// ---- read-out

// Energies of the block's atoms; if asked, the gradient to the last output goes to grad. The output X lies in grad before.
template <typename T>
static void read_out(const Block<T>& b, T* grad) {
  const Context<T>& c = b.c;
  const Weights<T>& w = b.w;
  const int W = w.width;
  T *norms = b.rows[0], *features = b.rows[1], *slopes = b.rows[2], *hidden = b.rows[3];
  T* head_slopes = hidden + static_cast<long>(c.stride) * w.head;
  T* deviations = slopes + static_cast<long>(c.stride) * W;
  for (int n = 0; n < b.count; ++n) {
    T* row = norms + 3L * n * W;
    for (int v = 0; v < W; v += lanes<T>) {
      Vec<T> x[9], s[3] = {};
      load9(grad + static_cast<long>(n) * W + v, b.component, x);
      for (int k = 0; k < 9; ++k) s[kPart[k]] += x[k] * x[k];
      for (int p = 0; p < 3; ++p) store(row + p * W + v, s[p]);
    }
    standardise<T>(3 * w.channels, 3 * W, row, row, deviations + n);
    affine<T>(3 * W, row, w.read_scale, w.read_shift, features + 3L * n * W);
  }
  multiply<T>(b.count, features, w.read, hidden);
  silu<T>(b.count, W, hidden, w.read_bias, features, slopes);
  multiply<T>(b.count, features, w.head_1, hidden);
  silu<T>(b.count, w.head, hidden, w.head_bias, hidden, head_slopes);
  for (int n = 0; n < b.count; ++n) {
    Vec<T> total{};
    for (int v = 0; v < w.head; v += lanes<T>) total += load(hidden + static_cast<long>(n) * w.head + v) * load(w.head_row + v);
    c.energies[b.first + n] = double(sum<T>(total)) + double(w.head_constant);
  }
  if (!c.gradients) return;
  for (int n = 0; n < b.count; ++n) scale_by<T>(w.head, head_slopes + static_cast<long>(n) * w.head, w.head_row);
  multiply<T>(b.count, head_slopes, w.head_1_back, features);
  scale_by<T>(static_cast<long>(b.count) * W, features, slopes);
  multiply<T>(b.count, features, w.read_back, hidden);
  for (int n = 0; n < b.count; ++n) {
    T* row = hidden + 3L * n * W;
    standardise_back<T>(3 * w.channels, 3 * W, norms + 3L * n * W, deviations[n], w.read_scale, row, row);
    for (int v = 0; v < W; v += lanes<T>) {
      T* at = grad + static_cast<long>(n) * W + v;
      for (int k = 0; k < 9; ++k) store(at + k * b.component, T(2) * load(at + k * b.component) * load(row + kPart[k] * W + v));
    }
  }
}

template <typename T>
static void forward_layer(const Block<T>& b, int layer) {
  const Context<T>& c = b.c;
  const LayerFields<T>& f = c.layers[layer];
  const int W = b.w.width;
  const bool last = layer == b.w.n_layers - 1;
  messages(b, layer);
  mix<T>(b.count, b.component, f.c + b.nine, b.w.layers[layer].mix_out, f.d + b.nine);
  T* next = last ? b.scratch_a : c.layers[layer + 1].x + b.nine;
  for (int n = 0; n < b.count; ++n)
    for (int v = 0; v < W; v += lanes<T>) {
      const long at = static_cast<long>(n) * W + v;
      Vec<T> x[9], d[9], out[9];
      load9(f.x + b.nine + at, b.component, x);
      load9(f.d + b.nine + at, b.component, d);
      update<T>(x, d, b.factor(layer, n, v), out);
      if (!last) store(c.layers[layer + 1].x_scale + b.one + at, normalise<T>(out));
      store9(next + at, b.component, out);
    }
  if (!last) return mix<T>(b.count, b.component, next, b.w.layers[layer + 1].mix_in, c.layers[layer + 1].y + b.nine);
  read_out(b, b.scratch_a);
  if (c.gradients) layer_back(b, layer, b.scratch_a, b.scratch_b);
}

template <typename T>
static void backward_layer(const Block<T>& b, int layer) {
  const Context<T>& c = b.c;
  const LayerFields<T>& f = c.layers[layer];
  const int W = b.w.width;
  messages_back(b, layer);
  mix<T>(b.count, b.component, f.d + b.nine, b.w.layers[layer].mix_in_back, b.scratch_a);
  for (int n = 0; n < b.count; ++n)
    for (int v = 0; v < W; v += lanes<T>) {
      const long at = static_cast<long>(n) * W + v;
      Vec<T> g[9], x[9];
      load9(b.scratch_a + at, b.component, g);
      for (int k = 0; k < 9; ++k) g[k] += load(c.carried + b.nine + k * b.component + at);
      load9(f.x + b.nine + at, b.component, x);
      normalise_back<T>(x, load(f.x_scale + b.one + at), g);
      store9(b.scratch_a + at, b.component, g);
    }
  if (layer > 0)
    layer_back(b, layer - 1, b.scratch_a, b.scratch_b);
  else
    embed_back(b, b.scratch_a, b.scratch_b);
}

template <typename T>
static void run_phase(const Context<T>& c, int phase, int block, int thread) {
  const Block<T> b(c, block, thread);
  const int n_layers = c.w->n_layers;
  if (phase == 0)
    embed(b);
  else if (phase <= n_layers)
    forward_layer(b, phase - 1);
  else
    backward_layer(b, 2 * n_layers - phase);
}
