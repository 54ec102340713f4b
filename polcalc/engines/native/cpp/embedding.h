// The embedding: X_i = Σ_j z_ij f_ij Y(u_ij), gated by its norms, and the first Y; and the gradient of it to every pair.

// Edges are taken in small groups, all channels of a group in turn: tables and neighbours are then read in long runs, which
// the processor fetches ahead, and the sums of an atom are loaded and stored once per group.
template <typename T, int G>
static void embed_group(const Weights<T>& w, const Edge<T>* edges, const T* receiving, T* to) {
  for (int v = 0; v < w.width; v += lanes<T>)
#pragma GCC unroll 3
    for (int part = 0; part < 3; ++part) {
      Vec<T> f[G];
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g)
        f[g] = (load(receiving + v) + load(w.species + edges[g].species + w.width + v)) * filter_value(entry_of(w.table, edges[g], v), part, edges[g].t);
#pragma GCC unroll 5
      for (int k = kFirst[part]; k < kFirst[part + 1]; ++k) {
        Vec<T> x = load(to + nine(v) + k * kTile);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) x += k == 0 ? f[g] : edges[g].harmonics[k == 0 ? 0 : k - 1] * f[g];
        store(to + nine(v) + k * kTile, x);
      }
    }
}

// The tensors of the block, and their squared norms
template <typename T>
static void embed_neighbours(const Block<T>& b, T* norms) {
  const Context<T>& c = b.c;
  const Weights<T>& w = b.w;
  for (long n = 0; n < b.count; ++n) {
    const T* species = w.species + c.species[b.first + n];
    T* to = b.field(c.tensors) + 9 * w.width * n;
    for (int v = 0; v < 9 * w.width; v += lanes<T>) store(to + v, Vec<T>{});
    b.groups(
        n, [&](long e) { embed_group<T, POLCALC_GROUP>(w, c.edges + e, species, to); }, [&](long e) { embed_group<T, 1>(w, c.edges + e, species, to); });
    for (int v = 0; v < w.width; v += lanes<T>) {
      Vec<T> x[9];
      load9(to + nine(v), x);
      x[0] = x[0] * T(1.7320508075688772) + load(w.self_loop + v) * (load(species + v) + load(species + w.width + v));
      store(to + nine(v), x[0]);
      store(norms + n * w.width + v, dot<T>(x, x));
    }
  }
}

template <typename T>
static void embed(const Block<T>& b) {
  const Context<T>& c = b.c;
  const Weights<T>& w = b.w;
  const int W = w.width;
  T *norms = b.rows[0], *gates = b.own(c.gates, 3 * W), *mixed = b.field(c.mixed);
  embed_neighbours(b, norms);
  for (long n = 0; n < b.count; ++n) {
    T* standardised = b.own(c.standardised, W) + n * W;
    standardise<T>(w.channels, W, norms + n * W, standardised, b.own(c.inverse_deviation, 1) + n);
    affine<T>(W, standardised, w.norm_scale, w.norm_shift, norms + n * W);
  }
  multiply<T>(b.count, norms, w.gate_1, b.rows[1]);
  silu<T>(b.count, w.hidden, b.rows[1], w.gate_bias_1, b.rows[2], b.own(c.hidden_slopes, w.hidden));
  if (b.training) copy(static_cast<long>(b.count) * w.hidden, b.rows[2], b.own(c.hidden_values, w.hidden));
  multiply<T>(b.count, b.rows[2], w.gate_2, b.rows[1]);
  silu<T>(b.count, 3 * W, b.rows[1], w.gate_bias_2, gates, b.own(c.gate_slopes, 3 * W));
  mix<T>(b.count, b.field(c.tensors), w.mix, mixed);
  T *first = b.field(c.layers[0].x), *scale = b.own(c.layers[0].x_scale, W);
  b.each([&](long n, int v, long at, long row) {
    Vec<T> x[9];
    load9(mixed + at, x);
    for (int k = 0; k < 9; ++k) x[k] *= load(gates + (3 * n + kPart[k]) * W + v);
    store(scale + row, normalise<T>(x));
    store9(first + at, x);
  });
  mix<T>(b.count, first, w.layers[0].mix_in, b.field(c.layers[0].y));
}

// From the gradient to the tensors of the receiving atom to that of one pair vector
template <typename T>
static void embed_edge_back(const Weights<T>& w, const Edge<T>& edge, const T* receiving, const T* grad, Geometry& geometry) {
  Vec<T> along{}, q[8] = {};
  for (int v = 0; v < w.width; v += lanes<T>) {
    const T *entry = entry_of(w.table, edge, v), *g = grad + nine(v);
    const Vec<T> z = load(receiving + v) + load(w.species + edge.species + w.width + v);
    Vec<T> slope_i, slope_a, slope_s, on_a{}, on_s{};
    filter_both(entry, 0, edge, slope_i);
    const Vec<T> fa = z * filter_both(entry, 1, edge, slope_a), fs = z * filter_both(entry, 2, edge, slope_s);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) {
      const Vec<T> gk = load(g + (k + 1) * kTile);
      (k < 3 ? on_a : on_s) += edge.harmonics[k] * gk;
      q[k] += (k < 3 ? fa : fs) * gk;
    }
    along += z * (slope_i * (load(g) * T(1.7320508075688772)) + slope_a * on_a + slope_s * on_s);
  }
  double s[8];
  for (int k = 0; k < 8; ++k) s[k] = sum<T>(q[k]);
  const double root2 = 1.4142135623730951, h = 0.81649658092772603, x = geometry.unit[0], y = geometry.unit[1], z = geometry.unit[2];
  const double to_unit[3] = {root2 * (s[0] + y * s[3] + z * s[6] + x * s[7]) - h * x * s[5],
                             root2 * (s[1] + x * s[3] + z * s[4] - y * s[7]) - h * y * s[5], root2 * (s[2] + y * s[4] + x * s[6]) + 2 * h * z * s[5]};
  const double radial = x * to_unit[0] + y * to_unit[1] + z * to_unit[2];
  const double total = (geometry.along + sum<T>(along)) * geometry.density;
  for (int k = 0; k < 3; ++k) geometry.gradient[k] = total * geometry.unit[k] + (to_unit[k] - radial * geometry.unit[k]) / geometry.length;
}

// The same for the table and the species
template <typename T>
static void embed_edge_train(const Weights<T>& w, const Edge<T>& edge, const T* receiving, const T* grad, const Gradients<T>& to, T* to_receiving) {
  T* to_sending = to.species + edge.species + w.width;
  for (int v = 0; v < w.width; v += lanes<T>) {
    const T *entry = entry_of(w.table, edge, v), *g = grad + nine(v);
    const Vec<T> z = load(receiving + v) + load(w.species + edge.species + w.width + v);
    Vec<T> on[3] = {load(g) * T(1.7320508075688772), Vec<T>{}, Vec<T>{}}, to_z{};
    for (int k = 0; k < 8; ++k) on[kPart[k + 1]] += edge.harmonics[k] * load(g + (k + 1) * kTile);
    for (int part = 0; part < 3; ++part) {
      to_z += filter_value(entry, part, edge.t) * on[part];
      add_to_table(to.table, edge, v, part, z * on[part]);
    }
    add(to_receiving + v, to_z);
    add(to_sending + v, to_z);
  }
}

template <typename T>
static void embed_train(const Block<T>& b, const T* to_tensors) {
  const Context<T>& c = b.c;
  const Weights<T>& w = b.w;
  const Gradients<T>& to = *b.training;
  const int W = w.width;
  for (long n = 0; n < b.count; ++n) {
    const T *species = w.species + c.species[b.first + n], *grad = to_tensors + 9 * W * n;
    T* to_species = to.species + c.species[b.first + n];
    for (int v = 0; v < W; v += lanes<T>) {
      const Vec<T> g = load(grad + nine(v)), through = g * load(w.self_loop + v);
      add(to.self_loop + v, g * (load(species + v) + load(species + W + v)));
      add(to_species + v, through);
      add(to_species + W + v, through);
    }
    for (long e = c.row_start[b.first + n]; e < c.row_start[b.first + n + 1]; ++e) embed_edge_train(w, c.edges[e], species, grad, to, to_species);
  }
}

// From the gradient to the first X, in grad, to that of every pair of the block
template <typename T>
static void embed_back(const Block<T>& b, T* grad, T* to_tensors) {
  const Context<T>& c = b.c;
  const Weights<T>& w = b.w;
  const int W = w.width;
  T *to_gates = b.rows[0], *gates = b.own(c.gates, 3 * W), *mixed = b.field(c.mixed), *tensors = b.field(c.tensors);
  b.each([&](long n, int v, long at, long) {
    Vec<T> g[9], x[9], to_gate[3] = {};
    load9(grad + at, g);
    load9(mixed + at, x);
    for (int k = 0; k < 9; ++k) {
      to_gate[kPart[k]] += g[k] * x[k];
      g[k] *= load(gates + (3 * n + kPart[k]) * W + v);
    }
    for (int p = 0; p < 3; ++p) store(to_gates + (3 * n + p) * W + v, to_gate[p]);
    store9(grad + at, g);
  });
  scale_by<T>(3L * b.count * W, to_gates, b.own(c.gate_slopes, 3 * W));
  if (b.training) {
    sum_rows<T>(b.count, 3 * W, to_gates, b.training->gate_bias_2);
    outer<T>(b.count, to_gates, 3 * W, b.own(c.hidden_values, w.hidden), w.hidden, b.training->gate_2);
  }
  multiply<T>(b.count, to_gates, w.gate_2_back, b.rows[1]);
  scale_by<T>(static_cast<long>(b.count) * w.hidden, b.rows[1], b.own(c.hidden_slopes, w.hidden));
  if (b.training) {
    const T* standardised = b.own(c.standardised, W);
    for (long n = 0; n < b.count; ++n) affine<T>(W, standardised + n * W, w.norm_scale, w.norm_shift, b.rows[2] + n * W);
    sum_rows<T>(b.count, w.hidden, b.rows[1], b.training->gate_bias_1);
    outer<T>(b.count, b.rows[1], w.hidden, b.rows[2], W, b.training->gate_1);
  }
  multiply<T>(b.count, b.rows[1], w.gate_1_back, b.rows[0]);
  if (b.training) affine_train<T>(b.count, W, b.rows[0], b.own(c.standardised, W), b.training->norm_scale, b.training->norm_shift);
  for (long n = 0; n < b.count; ++n)
    standardise_back<T>(w.channels, W, b.own(c.standardised, W) + n * W, b.own(c.inverse_deviation, 1)[n], w.norm_scale, b.rows[0] + n * W,
                        b.rows[1] + n * W);
  if (b.training) mix_outer<T>(b.count, grad, tensors, W, b.training->mix);
  mix<T>(b.count, grad, w.mix_back, to_tensors);
  b.each([&](long, int, long at, long row) {
    Vec<T> g[9], x[9];
    load9(to_tensors + at, g);
    load9(tensors + at, x);
    const Vec<T> to_norm = T(2) * load(b.rows[1] + row);
    for (int k = 0; k < 9; ++k) g[k] += to_norm * x[k];
    store9(to_tensors + at, g);
  });
  if (b.training) embed_train(b, to_tensors);
  if (!c.to_positions) return;
  for (long n = 0; n < b.count; ++n)
    for (long e = c.row_start[b.first + n]; e < c.row_start[b.first + n + 1]; ++e)
      embed_edge_back(w, c.edges[e], w.species + c.species[b.first + n], to_tensors + 9 * W * n, c.geometry[e]);
}
