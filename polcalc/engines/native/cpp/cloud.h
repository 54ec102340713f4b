// The atoms of a structure with as many images as reach them, in order of elements and place.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "far.h"

struct FarStructure {
  std::int64_t n_atoms;
  const double* positions;      // (N, 3) Å
  const std::int64_t* species;  // (N) row in the tables of elements
  const double* lattice;        // (3, 3) Å, rows are vectors, zero where open; or null
};

struct Basis {  // of a lattice: open directions are filled up with unit vectors across the others
  double rows[3][3]{}, inverse[3][3]{}, volume = 0;
  bool periodic[3]{};
  int n_periodic = 0;

  explicit Basis(const double* lattice) {
    for (int d = 0; d < 3; ++d) {
      double length = 0;
      for (int a = 0; lattice && a < 3; ++a) length += std::fabs(rows[d][a] = lattice[3 * d + a]);
      periodic[d] = length > 0;
      n_periodic += periodic[d];
    }
    for (int d = 0; d < 3; ++d)
      if (!periodic[d]) fill(d);
    for (int d = 0; d < 3; ++d) {
      const double *b = rows[(d + 1) % 3], *c = rows[(d + 2) % 3];
      for (int a = 0; a < 3; ++a)
        inverse[a][d] = b[(a + 1) % 3] * c[(a + 2) % 3] - b[(a + 2) % 3] * c[(a + 1) % 3];
    }
    for (int a = 0; a < 3; ++a) volume += rows[0][a] * inverse[a][0];
    for (auto& row : inverse)
      for (double& x : row) x /= volume;
    volume = std::fabs(volume);
  }

  void check() const {  // throws where images could not be counted
    for (int d = 0; d < 3; ++d)
      if (!(height(d) > 0.1))
        throw std::invalid_argument(
            "`cell` must be higher than 0.1 Å in every direction; got " +
            std::to_string(height(d)) + " Å. Check the cell.");
  }

  double height(int d) const {  // of the cell over the plane of the other two
    double squared = 0;
    for (int a = 0; a < 3; ++a) squared += inverse[a][d] * inverse[a][d];
    return 1 / std::sqrt(squared);
  }

 private:
  void fill(int d) {  // with the unit vector that is least along the vectors that are there
    double best = -1;
    for (int a = 0; a < 3; ++a) {
      double v[3] = {a == 0 ? 1.0 : 0.0, a == 1 ? 1.0 : 0.0, a == 2 ? 1.0 : 0.0};
      for (int pass = 0; pass < 2; ++pass) {
        double other[2][3];
        int n = 0;
        for (int e = 0; e < 3; ++e)  // an orthogonal basis of those that are there
          if (e != d && (rows[e][0] != 0 || rows[e][1] != 0 || rows[e][2] != 0)) {
            double u[3] = {rows[e][0], rows[e][1], rows[e][2]};
            for (int m = 0; m < n; ++m) take_out(u, other[m]);
            std::copy(u, u + 3, other[n++]);
          }
        for (int m = 0; m < n; ++m) take_out(v, other[m]);
      }
      const double left = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
      if (left <= best) continue;
      best = left;
      for (int k = 0; k < 3; ++k) rows[d][k] = v[k] / std::sqrt(left);
    }
  }
  static void take_out(double* v, const double* u) {
    const double squared = u[0] * u[0] + u[1] * u[1] + u[2] * u[2];
    const double along = (v[0] * u[0] + v[1] * u[1] + v[2] * u[2]) / squared;
    for (int a = 0; a < 3; ++a) v[a] -= along * u[a];
  }
};

class Cloud {
 public:
  std::vector<double> x, y, z;       // of all points, padded
  std::vector<std::int64_t> owner;   // atom of each
  std::vector<std::int64_t> itself;  // the point that each atom is
  std::vector<std::int64_t> elements;  // rows in the tables of those that are there

  // All images within `reach` of the atoms, where there is a lattice
  void build(const FarStructure& s, const Basis& basis, double reach) {
    const std::int64_t N = s.n_atoms;
    number_elements(s);
    places_.resize(3 * N);
    for (int a = 0; a < 3; ++a) low_[a] = std::numeric_limits<double>::max(), high_[a] = -low_[a];
    for (std::int64_t n = 0; n < N; ++n) {
      double* to = &places_[3 * n];
      std::copy(s.positions + 3 * n, s.positions + 3 * n + 3, to);
      for (int d = 0; d < 3; ++d) {
        if (!basis.periodic[d]) continue;
        double part = 0;
        for (int a = 0; a < 3; ++a) part += to[a] * basis.inverse[a][d];
        for (int a = 0; a < 3; ++a) to[a] -= std::floor(part) * basis.rows[d][a];
      }
      for (int a = 0; a < 3; ++a) {
        low_[a] = std::min(low_[a], to[a]);
        high_[a] = std::max(high_[a], to[a]);
      }
    }
    found_.clear();
    int images[3];
    double looked_at = static_cast<double>(N);
    for (int d = 0; d < 3; ++d) {
      const double wanted = basis.periodic[d] ? std::ceil(reach / basis.height(d)) : 0.0;
      looked_at *= 2 * wanted + 1;
      if (!(looked_at < kMostImages))
        throw std::invalid_argument("`cell` must not be that thin; got one of which " +
                                    std::to_string(kMostImages) +
                                    " images of atoms are in reach. Repeat it, or check it.");
      images[d] = static_cast<int>(wanted);
    }
    for (int h = -images[0]; h <= images[0]; ++h)
      for (int k = -images[1]; k <= images[1]; ++k)
        for (int l = -images[2]; l <= images[2]; ++l) add_images(N, basis, h, k, l, reach);
    sort(s, reach, basis.n_periodic > 0 ? reach : 0.0);
  }

  const double* place(std::int64_t n) const { return &places_[3 * n]; }
  FarPoints points() const { return {x.data(), y.data(), z.data()}; }
  std::int64_t size() const { return static_cast<std::int64_t>(owner.size()); }

  // Values of the atoms at their points, padded
  void spread(const double* of_atoms, std::int64_t stride, std::vector<double>& to) const {
    to.resize(x.size());
    for (std::int64_t p = 0; p < size(); ++p) to[p] = of_atoms[stride * owner[p]];
  }

  // Those of an element within reach of a place, and some beyond
  const std::vector<Run>& near(const double* place, std::size_t element, double reach) {
    runs_.clear();
    int from[3], to[3];
    for (int a = 0; a < 3; ++a) {
      from[a] = bin(a, place[a] - reach);
      to[a] = bin(a, place[a] + reach);
    }
    for (int i = from[0]; i <= to[0]; ++i)
      for (int k = from[1]; k <= to[1]; ++k) {
        const double dx = outside(0, i, place[0]), dy = outside(1, k, place[1]);
        const double left = reach * reach - dx * dx - dy * dy;
        if (left < 0) continue;
        const double along = std::sqrt(left);
        const std::int64_t first = key(element, i, k, bin(2, place[2] - along));
        const std::int64_t last = key(element, i, k, bin(2, place[2] + along));
        const Run run{start_[first], start_[last + 1]};
        if (run.begin == run.end) continue;
        if (!runs_.empty() && runs_.back().end == run.begin)
          runs_.back().end = run.end;
        else
          runs_.push_back(run);
      }
    return runs_;
  }

 private:
  static constexpr int kPadding = 16, kMostImages = 30000000;
  // a run goes along z: many bins there cost nothing, and leave little beyond the reach
  static constexpr int kBinsPerReach[3] = {4, 4, 16}, kMostBins[3] = {48, 48, 192};
  struct Found {
    double place[3];
    std::int64_t atom, key;
  };

  void number_elements(const FarStructure& s) {
    elements.assign(s.species, s.species + s.n_atoms);
    std::sort(elements.begin(), elements.end());
    elements.erase(std::unique(elements.begin(), elements.end()), elements.end());
    numbers_.resize(s.n_atoms);
    for (std::int64_t n = 0; n < s.n_atoms; ++n)
      numbers_[n] = std::lower_bound(elements.begin(), elements.end(), s.species[n]) -
                    elements.begin();
  }

  void add_images(std::int64_t N, const Basis& basis, int h, int k, int l, double reach) {
    const bool home = h == 0 && k == 0 && l == 0;
    double shift[3];
    for (int a = 0; a < 3; ++a)
      shift[a] = h * basis.rows[0][a] + k * basis.rows[1][a] + l * basis.rows[2][a];
    for (std::int64_t n = 0; n < N; ++n) {
      Found f{{}, n, 0};
      double away2 = 0;  // from the box of the atoms in the cell
      for (int a = 0; a < 3; ++a) {
        f.place[a] = places_[3 * n + a] + shift[a];
        const double away = std::max({0.0, low_[a] - f.place[a], f.place[a] - high_[a]});
        away2 += away * away;
      }
      if (home) f.atom = -1 - n;  // told apart so
      if (home || away2 < reach * reach) found_.push_back(f);
    }
  }

  void sort(const FarStructure& s, double reach, double margin) {
    std::int64_t n_bins = 1;
    for (int a = 0; a < 3; ++a) {
      first_[a] = low_[a] - margin;
      const double extent = high_[a] - low_[a] + 2 * margin;
      n_[a] = extent > reach
                  ? static_cast<int>(std::min<double>(kBinsPerReach[a] * extent / reach, kMostBins[a]))
                  : 1;
      width_[a] = n_[a] > 1 ? extent / n_[a] : std::numeric_limits<double>::max();
      per_width_[a] = 1 / width_[a];
      n_bins *= n_[a];
    }
    start_.assign(n_bins * elements.size() + 1, 0);
    for (Found& f : found_) {
      const std::int64_t atom = f.atom < 0 ? -1 - f.atom : f.atom;
      f.key = key(numbers_[atom], bin(0, f.place[0]), bin(1, f.place[1]), bin(2, f.place[2]));
      ++start_[f.key + 1];
    }
    for (std::size_t k = 1; k < start_.size(); ++k) start_[k] += start_[k - 1];
    next_.assign(start_.begin(), start_.end() - 1);
    const std::size_t total = found_.size();
    owner.resize(total);
    itself.resize(s.n_atoms);
    for (auto* axis : {&x, &y, &z}) axis->assign(total + kPadding, 0.0);
    for (const Found& f : found_) {
      const std::int64_t p = next_[f.key]++;
      x[p] = f.place[0];
      y[p] = f.place[1];
      z[p] = f.place[2];
      owner[p] = f.atom < 0 ? -1 - f.atom : f.atom;
      if (f.atom < 0) itself[owner[p]] = p;
    }
  }

  int bin(int a, double place) const {
    if (n_[a] == 1) return 0;
    const double number = (place - first_[a]) * per_width_[a];
    return number > 0 ? static_cast<int>(std::min<double>(number, n_[a] - 1)) : 0;
  }
  double outside(int a, int number, double place) const {  // how far from a bin
    if (n_[a] == 1) return 0;
    const double begin = first_[a] + number * width_[a];
    return std::max({0.0, begin - place, place - begin - width_[a]});
  }
  std::int64_t key(std::int64_t element, int i, int k, int l) const {
    return ((element * n_[0] + i) * n_[1] + k) * n_[2] + l;
  }

  std::vector<double> places_;         // of the atoms, in the cell
  std::vector<std::int64_t> numbers_;  // of their elements
  std::vector<Found> found_;
  std::vector<std::int64_t> start_, next_;
  std::vector<Run> runs_;
  double low_[3], high_[3], first_[3], width_[3], per_width_[3];
  int n_[3];
};

inline void add_virial(const FarSums& sums, double factor, double* virial) {  // (3, 3)
  constexpr int places[9] = {0, 1, 2, 1, 3, 4, 2, 4, 5};
  for (int k = 0; k < 9; ++k) virial[k] += factor * sums.virial[places[k]];
}
