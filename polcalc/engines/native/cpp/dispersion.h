// The energy D3(BJ) of potentials/terms/dispersion.py, in float64.
#pragma once

#include <stdexcept>
#include <string>

#include "cloud.h"

struct DispersionTables {  // Z rows of elements, A references
  int n_references = 0;    // 0: no dispersion
  const double *radius = nullptr, *scale = nullptr;  // (Z) Å; (Z) atomic units, 0: not known
  const double* coordination = nullptr;              // (Z, A), infinite where there are fewer
  const double* reference = nullptr;                 // (Z, Z, A, A) atomic units
  const double* damping = nullptr;  // s6, s8, a1, a2; Å: cutoff, that of counting, width
  std::int64_t n_species = 0;
};

constexpr double kBohr = 0.5291772105638411, kHartree = 27.211386024367243;  // of ase.units
constexpr int kMostReferences = 8;

class DispersionSum {
 public:
  // Adds energies (N), minus forces (N, 3) and virial (3, 3)
  void add(const FarKernels& kernels, const DispersionTables& t, const FarStructure& s,
           double* energies, double* gradients, double* virial) {
    const std::int64_t N = s.n_atoms;
    if (N == 0) return;
    if (!(t.damping[4] > 0 && t.damping[4] < 1e3 && t.damping[5] > 0 && t.damping[5] < 1e3 &&
          t.damping[6] > 0))
      throw std::invalid_argument("cutoffs of the dispersion must be of the size of atoms.");
    for (std::int64_t n = 0; n < N; ++n)
      if (!(t.scale[s.species[n]] > 0))
        throw std::invalid_argument(
            "`atoms` must hold elements from H to I for a model with D3 dispersion; got one of"
            " atomic number " +
            std::to_string(s.species[n]) + ". Use a model without this term.");
    const FarSwitch present{t.damping[4], t.damping[6]}, counting{t.damping[5], t.damping[6]};
    const Basis basis(s.lattice);
    cloud_.build(s, basis, std::max(present.cutoff, counting.cutoff));
    const std::size_t E = cloud_.elements.size();
    counts_.assign(N, 0.0);
    each_row(s, E, counting.cutoff, [&](std::int64_t n, std::size_t e, const FarRow& row) {
      counts_[n] += kernels.count(row, cloud_.points(), counting, bond(t, s, n, e));
    });
    weigh(t, s);
    to_counts_.assign(N, 0.0);
    double own[2 * kMostReferences];
    each_row(s, E, present.cutoff, [&](std::int64_t n, std::size_t e, const FarRow& row) {
      FarSums sums{};
      kernels.attract(row, cloud_.points(), present, pair_of(t, s, n, cloud_.elements[e], own),
                      sums);
      energies[n] += 0.5 * kHartree * sums.value;
      to_counts_[n] += kHartree * sums.other;
      add_gradient(sums, kHartree, n, gradients, virial);
    });
    cloud_.spread(to_counts_.data(), 1, spread_);
    each_row(s, E, counting.cutoff, [&](std::int64_t n, std::size_t e, const FarRow& row) {
      FarSums sums{};
      kernels.count_back(row, cloud_.points(), counting, bond(t, s, n, e), spread_.data(),
                         to_counts_[n], sums);
      add_gradient(sums, 1.0, n, gradients, virial);
    });
  }

 private:
  template <typename F>
  void each_row(const FarStructure& s, std::size_t n_elements, double reach, F f) {
    for (std::int64_t n = 0; n < s.n_atoms; ++n)
      for (std::size_t e = 0; e < n_elements; ++e) {
        const double* place = cloud_.place(n);
        const auto& runs = cloud_.near(place, e, reach);
        f(n, e, FarRow{{place[0], place[1], place[2]}, cloud_.itself[n], runs.data(),
                       static_cast<int>(runs.size())});
      }
  }

  static void add_gradient(const FarSums& sums, double factor, std::int64_t n, double* gradients,
                           double* virial) {
    for (int a = 0; a < 3; ++a) gradients[3 * n + a] -= factor * sums.gradient[a];
    add_virial(sums, 0.5 * factor, virial);
  }

  double bond(const DispersionTables& t, const FarStructure& s, std::int64_t n,
              std::size_t e) const {
    return 4.0 / 3.0 * (t.radius[s.species[n]] + t.radius[cloud_.elements[e]]);
  }

  // How much each atom is like the references of its element, and how that changes with its count
  void weigh(const DispersionTables& t, const FarStructure& s) {
    const int A = t.n_references;
    weights_.assign(s.n_atoms * A, 0.0);
    slopes_.assign(s.n_atoms * A, 0.0);
    for (std::int64_t n = 0; n < s.n_atoms; ++n) {
      const double* at = t.coordination + s.species[n] * A;
      double *w = &weights_[n * A], *slope = &slopes_[n * A], best = -1e300, total = 0, mean = 0;
      for (int a = 0; a < A; ++a)
        if (std::isfinite(at[a])) best = std::max(best, score(counts_[n] - at[a]));
      for (int a = 0; a < A; ++a)
        if (std::isfinite(at[a])) total += w[a] = std::exp(score(counts_[n] - at[a]) - best);
      for (int a = 0; a < A; ++a) {
        w[a] /= total;
        if (std::isfinite(at[a])) mean += w[a] * (slope[a] = -8.0 * (counts_[n] - at[a]));
      }
      for (int a = 0; a < A; ++a) slope[a] = w[a] * (slope[a] - mean);
    }
    stride_ = static_cast<std::int64_t>(cloud_.x.size());
    at_points_.resize(A * stride_);
    for (int a = 0; a < A; ++a)
      for (std::int64_t p = 0; p < cloud_.size(); ++p)
        at_points_[a * stride_ + p] = weights_[cloud_.owner[p] * A + a];
  }
  static double score(double difference) { return -4.0 * difference * difference; }

  FarPair pair_of(const DispersionTables& t, const FarStructure& s, std::int64_t n,
                  std::int64_t other, double* own) const {
    const int A = t.n_references;
    const std::int64_t one = s.species[n];
    const double* c6 = t.reference + (one * t.n_species + other) * A * A;
    for (int b = 0; b < A; ++b) {
      own[b] = own[kMostReferences + b] = 0;
      for (int a = 0; a < A; ++a) {
        own[b] += weights_[n * A + a] * c6[a * A + b];
        own[kMostReferences + b] += slopes_[n * A + a] * c6[a * A + b];
      }
    }
    const double ratio = 3 * t.scale[one] * t.scale[other];
    const double radius = t.damping[2] * std::sqrt(ratio) + t.damping[3], r2 = radius * radius;
    int known = 0;  // references of the other element
    while (known < A && std::isfinite(t.coordination[other * A + known])) ++known;
    return {1 / kBohr,         t.damping[0], t.damping[1] * ratio, r2 * r2 * r2,
            r2 * r2 * r2 * r2, known,        own,                  own + kMostReferences,
            at_points_.data(), stride_};
  }

  Cloud cloud_;
  std::vector<double> counts_, to_counts_, weights_, slopes_, at_points_, spread_;
  std::int64_t stride_ = 0;
};
