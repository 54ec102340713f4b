// Pairs within the cutoff, and the two directed edges of each as the kernels see them.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "engine.h"
#include "intervals.h"
#include "order.h"
#include "repulsion.h"

struct Pair {  // inside the cutoff, in the internal order of the atoms
  int i, j;
  double vector[3], length;
  std::int64_t there, back;  // its two directed edges, owned by i and by j
};

template <typename T>
class Edges {
 public:
  std::vector<Pair> pairs;
  std::vector<std::int64_t> row_start;  // (N + 2)

  explicit Edges(const Model& model) : model_(model), intervals_(model) {}

  // Of rows of fields of a width; pairs of nuclei repel as well
  void make(const Structure& s, const Order& order, std::int64_t W, Repulsion& repulsion) {
    const std::int64_t N = s.n_atoms;
    const double cutoff2 = model_.cutoff * model_.cutoff;
    row_start.assign(N + 2, 0);
    pairs.clear();
    repulsion.start(N);
    for (std::int64_t p = 0; p < s.n_pairs; ++p) {
      const std::int64_t i = s.idx_i[p], j = s.idx_j[p];
      double v[3];
      for (int a = 0; a < 3; ++a)
        v[a] = s.positions[3 * j + a] - s.positions[3 * i + a] +
               (s.shifts ? s.shifts[3 * p + a] : 0.0);
      const double d2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
      if (model_.repulsion) repulsion.add(i, j, s.species[i], s.species[j], v, std::sqrt(d2));
      if (!(d2 < cutoff2)) continue;
      pairs.push_back({order.place[i], order.place[j], {v[0], v[1], v[2]}, std::sqrt(d2), 0, 0});
      ++row_start[order.place[i] + 2];
      ++row_start[order.place[j] + 2];
    }
    for (std::int64_t n = 2; n < N + 2; ++n) row_start[n] += row_start[n - 1];
    Edge<T>* edges = edges_.ensure(2 * pairs.size() + 1);
    Geometry* geometry = geometry_.ensure(2 * pairs.size() + 1);
    for (Pair& pair : pairs) {
      pair.there = row_start[pair.i + 1]++;
      pair.back = row_start[pair.j + 1]++;
      const auto [interval, t, density] = intervals_.at(pair.length);
      const double inverse = pair.length > 0 ? 1 / pair.length : 0.0;
      const double x = pair.vector[0] * inverse, y = pair.vector[1] * inverse,
                   z = pair.vector[2] * inverse;
      constexpr double r = 1.4142135623730951, h = 0.40824829046386302;
      const double harmonics[8] = {r * x,     r * y,
                                   r * z,     r * x * y,
                                   r * y * z, h * (2 * z * z - x * x - y * y),
                                   r * x * z, (x * x - y * y) / r};
      for (int back = 0; back < 2; ++back) {
        const std::int64_t e = back ? pair.back : pair.there;
        const int from = back ? pair.i : pair.j;
        const double sign = back ? -1.0 : 1.0;
        Edge<T>& edge = edges[e];
        edge.node = 9LL * W * from;
        edge.entry = interval * kCoefficients * W;
        edge.species = 2 * W * s.kinds[order.atom[from]];
        edge.t = T(t);
        edge.t2 = T(2 * t);
        edge.t3 = T(3 * t * t);
        for (int k = 0; k < 8; ++k)
          edge.harmonics[k] = T(k < 3 ? sign * harmonics[k] : harmonics[k]);
        geometry[e] = {{sign * x, sign * y, sign * z},
                       pair.length > 0 ? pair.length : 1.0,
                       density,
                       0,
                       {0, 0, 0}};
      }
    }
    // while filling, entry n + 1 advanced from the start of atom n to that of atom n + 1
  }
  Edge<T>* get() const { return edges_.get(); }
  Geometry* geometry() const { return geometry_.get(); }
  std::size_t bytes() const {
    return edges_.bytes() + geometry_.bytes() + pairs.capacity() * sizeof(Pair);
  }

 private:
  const Model& model_;
  Intervals intervals_;
  Buffer<Edge<T>> edges_;
  Buffer<Geometry> geometry_;
};
