// An interaction layer: messages, product, update; and the way back, in a local part and one through the messages.

template <typename T, int G>
static void message_group(int width, const T* table, const Edge<T>* edges, const T* field, T* to) {
  for (int v = 0; v < width; v += lanes<T>)
#pragma GCC unroll 3
    for (int part = 0; part < 3; ++part) {
      Vec<T> f[G];
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) f[g] = filter_value(entry_of(table, edges[g], v), part, edges[g].t);
#pragma GCC unroll 5
      for (int k = kFirst[part]; k < kFirst[part + 1]; ++k) {
        Vec<T> m = load(to + nine(v) + k * kTile);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) m += f[g] * load(field + edges[g].node + nine(v) + k * kTile);
        store(to + nine(v) + k * kTile, m);
      }
    }
}

// Messages M_i = Σ_j f_ij Y_j + f(0) Y_i, then the product with Y and its normalisation
template <typename T>
static void messages(const Block<T>& b, int layer) {
  const Context<T>& c = b.c;
  const LayerWeights<T>& w = b.w.layers[layer];
  const LayerFields<T>& f = c.layers[layer];
  const int W = b.w.width;
  T *ys = b.field(f.y), *ms = b.field(f.m), *cs = b.field(f.c), *scales = b.own(f.c_scale, W);
  for (long n = 0; n < b.count; ++n) {
    T *y = ys + 9 * W * n, *m = ms + 9 * W * n;
    for (int v = 0; v < W; v += lanes<T>)
      for (int k = 0; k < 9; ++k) store(m + nine(v) + k * kTile, load(y + nine(v) + k * kTile) * load(w.self_loop + kPart[k] * W + v));
    b.groups(
        n, [&](long e) { message_group<T, POLCALC_GROUP>(W, w.table, c.edges + e, f.y, m); },
        [&](long e) { message_group<T, 1>(W, w.table, c.edges + e, f.y, m); });
    for (int v = 0; v < W; v += lanes<T>) {
      Vec<T> y9[9], m9[9], p[9];
      load9(y + nine(v), y9);
      load9(m + nine(v), m9);
      product<T>(b.w.one_sided, y9, m9, b.factor(layer, n, v), p);
      store(scales + W * n + v, normalise<T>(p));
      store9(cs + 9 * W * n + nine(v), p);
    }
  }
}

// Layer by layer: Y to X, and the next Y, unless atoms attend to each other before. The last one also reads out, and goes back as far as it is local.
template <typename T>
static void forward_layer(const Block<T>& b, int layer) {
  const Context<T>& c = b.c;
  const LayerFields<T>& f = c.layers[layer];
  const bool last = layer == b.w.n_layers - 1;
  messages(b, layer);
  T *x = b.field(f.x), *d = b.field(f.d), *next = last ? b.scratch_a : b.field(c.layers[layer + 1].x);
  T* scales = last ? nullptr : b.own(c.layers[layer + 1].x_scale, b.w.width);
  const bool attentive = !last && c.attends;
  mix<T>(b.count, b.field(f.c), b.w.layers[layer].mix_out, d);
  b.each([&](long n, int v, long at, long row) {
    Vec<T> x9[9], d9[9], out[9];
    load9(x + at, x9);
    load9(d + at, d9);
    update<T>(x9, d9, b.factor(layer, n, v), out);
    if (!last && !attentive) store(scales + row, normalise<T>(out));
    store9(next + at, out);
  });
  if (attentive) return describe(b, layer + 1, next);
  if (!last) return mix<T>(b.count, next, b.w.layers[layer + 1].mix_in, b.field(c.layers[layer + 1].y));
  read_out(b, b.scratch_a);
  if (c.gradients) layer_back(b, layer, b.scratch_a, b.scratch_b);
}

// The way back through a layer as far as it is local. In: gradient to the output. Out: `carried` keeps it, m becomes the
// gradient to the messages, and d that to Y but for the neighbours.
template <typename T>
static void layer_back(const Block<T>& b, int layer, const T* grad, T* other) {
  const LayerWeights<T>& w = b.w.layers[layer];
  const LayerFields<T>& f = b.c.layers[layer];
  const int W = b.w.width;
  T *carried = b.field(b.c.carried), *ys = b.field(f.y), *ms = b.field(f.m), *cs = b.field(f.c), *ds = b.field(f.d), *scales = b.own(f.c_scale, W);
  const LayerGradients<T>* to = b.training ? &b.training->layers[layer] : nullptr;
  b.each([&](long n, int v, long at, long) {
    Vec<T> g[9], d[9], to_d[9];
    load9(grad + at, g);
    load9(ds + at, d);
    store9(carried + at, g);
    if (to) add(b.factor_place(to->factor, layer, n, v), square_along<T>(d, g));
    update_back<T>(d, b.factor(layer, n, v), g, to_d);
    store9(ds + at, to_d);
  });
  if (to) mix_outer<T>(b.count, ds, cs, W, to->mix_out);
  mix<T>(b.count, ds, w.mix_out_back, other);
  b.each([&](long n, int v, long at, long row) {
    Vec<T> g[9], x[9], y[9], to_y[9], to_m[9];
    load9(other + at, g);
    load9(cs + at, x);
    normalise_back<T>(x, load(scales + row), g);
    load9(ys + at, y);
    load9(ms + at, x);
    if (to && !b.w.one_sided) {
      product<T>(false, y, x, splat<T>(1), to_y);
      add(b.factor_place(to->factor, layer, n, v), dot<T>(g, to_y));
    }
    product_back<T>(b.w.one_sided, y, x, b.factor(layer, n, v), g, to_y, to_m);
    for (int k = 0; k < 9; ++k) to_y[k] += to_m[k] * load(w.self_loop + kPart[k] * W + v);
    if (to)
      for (int k = 0; k < 9; ++k) add(to->self_loop + kPart[k] * W + v, to_m[k] * y[k]);
    store9(ms + at, to_m);
    store9(ds + at, to_y);
  });
}

// To Y, and where places are given for them: to the lengths of the edges, and to the table
template <typename T, int G, bool Lengths, bool Table>
static void message_group_back(int width, const T* table, const Edge<T>* edges, const T* field, const T* from, T* to, Geometry* geometry, T* to_table) {
  Vec<T> along[G] = {};
  for (int v = 0; v < width; v += lanes<T>)
#pragma GCC unroll 3
    for (int part = 0; part < 3; ++part) {
      Vec<T> f[G], slope[G], on[G] = {};
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const T* entry = entry_of(table, edges[g], v);
        f[g] = Lengths ? filter_both(entry, part, edges[g], slope[g]) : filter_value(entry, part, edges[g].t);
      }
#pragma GCC unroll 5
      for (int k = kFirst[part]; k < kFirst[part + 1]; ++k) {
        const Vec<T> y = load(from + nine(v) + k * kTile);
        Vec<T> total = load(to + nine(v) + k * kTile);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
          const Vec<T> grad = load(field + edges[g].node + nine(v) + k * kTile);
          total += f[g] * grad;
          on[g] += y * grad;
        }
        store(to + nine(v) + k * kTile, total);
      }
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        if (Lengths) along[g] += slope[g] * on[g];
        if (Table) add_to_table(to_table, edges[g], v, part, on[g]);
      }
    }
  for (int g = 0; Lengths && g < G; ++g) geometry[g].along += sum<T>(along[g]);
}

template <typename T, bool Lengths, bool Table>
static void messages_back(const Block<T>& b, int layer) {
  const Context<T>& c = b.c;
  const LayerFields<T>& f = c.layers[layer];
  const int W = b.w.width;
  const T* table = b.w.layers[layer].table;
  T *ys = b.field(f.y), *ds = b.field(f.d), *to_table = Table ? b.training->layers[layer].table : nullptr;
  for (long n = 0; n < b.count; ++n) {
    T *y = ys + 9 * W * n, *to = ds + 9 * W * n;
    b.groups(
        n, [&](long e) { message_group_back<T, POLCALC_GROUP, Lengths, Table>(W, table, c.edges + e, f.m, y, to, c.geometry + e, to_table); },
        [&](long e) { message_group_back<T, 1, Lengths, Table>(W, table, c.edges + e, f.m, y, to, c.geometry + e, to_table); });
  }
}

// Gradients through the messages: to Y, in place of d, and to the length of every edge; then to the input of the layer
template <typename T>
static void backward_layer(const Block<T>& b, int layer) {
  const Context<T>& c = b.c;
  const LayerFields<T>& f = c.layers[layer];
  const int W = b.w.width;
  T *xs = b.field(f.x), *ds = b.field(f.d), *carried = b.field(c.carried), *grad = b.scratch_a, *scales = b.own(f.x_scale, W);
  if (!b.training)
    messages_back<T, true, false>(b, layer);
  else if (c.to_positions)
    messages_back<T, true, true>(b, layer);
  else
    messages_back<T, false, true>(b, layer);
  if (b.training) mix_outer<T>(b.count, ds, xs, W, b.training->layers[layer].mix_in);
  mix<T>(b.count, ds, b.w.layers[layer].mix_in_back, grad);
  b.each([&](long, int, long at, long row) {
    Vec<T> g[9], x[9], beside[9];
    load9(grad + at, g);
    load9(carried + at, beside);
    for (int k = 0; k < 9; ++k) g[k] += beside[k];
    load9(xs + at, x);
    normalise_back<T>(x, load(scales + row), g);
    store9(grad + at, g);
  });
  if (layer > 0 && c.attends)
    attend_back(b, layer, grad);
  else if (layer > 0)
    layer_back(b, layer - 1, grad, b.scratch_b);
  else
    embed_back(b, grad, b.scratch_b);
}
