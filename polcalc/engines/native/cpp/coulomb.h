// The energy of the charges of potentials/terms/coulomb.py, in float64: its gradient by positions,
// by charges and by what shells are displaced.
#pragma once

#include <stdexcept>
#include <string>

#include "cloud.h"

struct Charged {                      // (N), of each atom
  const double* charges;              // e
  const double* shells = nullptr;     // (3) Å, displacement; null: no shells
  const double* electrons = nullptr;  // of the shell
};

struct ChargedGradients {  // zero before; eV by each of these
  double *energies, *positions, *charges, *shells, *electrons, *virial, *widths;
};

class CoulombSum {
 public:
  static void check(const Basis& basis) {
    if (basis.n_periodic == 1 || basis.n_periodic == 2)
      throw std::invalid_argument(
          "`pbc` must be true in all three directions or in none for a model with a Coulomb energy;"
          " got " +
          std::to_string(basis.n_periodic) +
          " of 3. Make the structure periodic in all three with enough vacuum, or open.");
  }

  // widths (Z) Å of the charge of each element; lattices as checked
  void add(const FarKernels& kernels, const double* widths, const FarStructure& s,
           const Charged& given, const ChargedGradients& to) {
    if (s.n_atoms == 0) return;
    const Basis basis(s.lattice);
    make_sites(s, given);
    double reach = std::numeric_limits<double>::max();
    double screening = 0;
    if (basis.n_periodic) {
      double widest = 0, furthest = 0;
      for (std::int64_t n = 0; n < s.n_atoms; ++n)
        widest = std::max(widest, std::fabs(widths[s.species[n]]));
      for (std::int64_t m = 0; m < n_sites_; ++m)
        furthest = std::max(furthest, std::sqrt(dot(&offsets_[3 * m], &offsets_[3 * m])));
      reach = std::max(kAccuracy * 2 * widest,
                       kAccuracy * (n_kinds_ > 1 ? 0.29 : 0.33) *
                           std::pow(basis.volume * basis.volume / s.n_atoms, 1.0 / 6));
      if (!(reach < 1e4))
        throw std::invalid_argument("`cell` and widths of charges must be of the size of atoms.");
      screening = kAccuracy / reach;
      reach += 2 * furthest;
    }
    cloud_.build(s, basis, reach);
    sum_pairs(kernels, widths, s, reach, screening, to);
    if (basis.n_periodic) sum_waves(kernels, basis, screening, to);
    hand_out(s, to);
  }

 private:
  static constexpr double kCoulomb = 14.399645;  // e²/(4πε0), eV Å
  static constexpr double kAccuracy = 4.3;       // exp(-4.3²) is 9e-9
  static constexpr double kSharpest = 1e3;       // 1/Å: narrower charges are points
  static constexpr double kMostWaves = 1e8;
  static constexpr double kPi = 3.14159265358979323846;

  static double dot(const double* a, const double* b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  }

  // Sites of an atom lie together: one at the nucleus, or core and shell
  void make_sites(const FarStructure& s, const Charged& given) {
    n_kinds_ = given.shells ? 2 : 1;
    n_sites_ = n_kinds_ * s.n_atoms;
    charges_.resize(n_sites_);
    offsets_.assign(3 * n_sites_, 0.0);
    potential_.assign(n_sites_, 0.0);
    gradient_.assign(3 * n_sites_, 0.0);
    for (std::int64_t n = 0; n < s.n_atoms; ++n) {
      charges_[n_kinds_ * n] = given.charges[n] + (given.shells ? given.electrons[n] : 0.0);
      if (!given.shells) continue;
      charges_[2 * n + 1] = -given.electrons[n];
      std::copy(given.shells + 3 * n, given.shells + 3 * n + 3, &offsets_[6 * n + 3]);
    }
  }

  void sum_pairs(const FarKernels& kernels, const double* widths, const FarStructure& s,
                 double reach, double screening, const ChargedGradients& to) {
    FarPoints points[2] = {cloud_.points(), cloud_.points()};
    for (int kind = 0; kind < n_kinds_; ++kind) {
      cloud_.spread(charges_.data() + kind, n_kinds_, spread_charges_[kind]);
      if (kind == 0) continue;
      const std::vector<double>* const axes[3] = {&cloud_.x, &cloud_.y, &cloud_.z};
      for (int a = 0; a < 3; ++a) {
        cloud_.spread(offsets_.data() + 3 + a, 6, shells_[a]);
        for (std::size_t p = 0; p < shells_[a].size(); ++p) shells_[a][p] += (*axes[a])[p];
      }
      points[kind] = {shells_[0].data(), shells_[1].data(), shells_[2].data()};
    }
    for (std::int64_t n = 0; n < s.n_atoms; ++n)
      for (std::size_t e = 0; e < cloud_.elements.size(); ++e) {
        const double mine = widths[s.species[n]], others = widths[cloud_.elements[e]];
        const double both = std::sqrt(mine * mine + others * others);
        const double rate = std::min(1 / (std::sqrt(2.0) * both), kSharpest);
        const auto& runs = cloud_.near(cloud_.place(n), e, reach);
        for (int kind = 0; kind < n_kinds_; ++kind) {
          const std::int64_t site = n_kinds_ * n + kind;
          FarRow row{{}, cloud_.itself[n], runs.data(), static_cast<int>(runs.size())};
          for (int a = 0; a < 3; ++a) row.place[a] = cloud_.place(n)[a] + offsets_[3 * site + a];
          FarSums sums{};
          for (int other = 0; other < n_kinds_; ++other)
            kernels.coulomb(row, points[other], spread_charges_[other].data(), rate, screening,
                            sums);
          const double q = kCoulomb * charges_[site];
          potential_[site] += kCoulomb * sums.value;
          for (int a = 0; a < 3; ++a) gradient_[3 * site + a] -= q * sums.gradient[a];
          add_virial(sums, 0.5 * q, to.virial);
          if (!to.widths) continue;
          const double by_width = -q * sums.other * rate * rate * rate;
          to.widths[s.species[n]] += by_width * mine;
          to.widths[cloud_.elements[e]] += by_width * others;
        }
      }
  }

  // The smooth part, in reciprocal space, less that of each atom with itself
  void sum_waves(const FarKernels& kernels, const Basis& basis, double screening,
                 const ChargedGradients& to) {
    const double longest = 2 * screening * kAccuracy, longest2 = longest * longest;  // 1/Å
    int most[3];
    double all = 1;
    for (int d = 0; d < 3; ++d) {
      const double count = longest * std::sqrt(dot(basis.rows[d], basis.rows[d])) / (2 * kPi);
      all *= 2 * count + 1;
      if (!(all < kMostWaves))
        throw std::invalid_argument("`cell` must not be that skew or large. Check it.");
      most[d] = static_cast<int>(count);
    }
    make_tables(kernels, basis, most);
    for (auto& sums : wave_sums_) sums.assign(padded_sites_, 0.0);
    double wave[3][3];  // reciprocal vectors, 1/Å
    for (int d = 0; d < 3; ++d)
      for (int a = 0; a < 3; ++a) wave[d][a] = 2 * kPi * basis.inverse[a][d];
    const int room = 2 * most[2] + 1;
    strengths_.resize(room);
    factors_.resize(2 * room);
    sums_.resize(static_cast<std::size_t>(2 * room + 1) * kernels.lanes + 8);
    const auto address = reinterpret_cast<std::uintptr_t>(sums_.data());
    auto* aligned = reinterpret_cast<double*>((address + 63) / 64 * 64);
    double energy = 0;
    for (int h = 0; h <= most[0]; ++h)
      for (int k = h ? -most[1] : 0; k <= most[1]; ++k) {
        // |p + l c|² < longest²: between the roots
        double p[3];
        for (int a = 0; a < 3; ++a) p[a] = h * wave[0][a] + k * wave[1][a];
        const double cc = dot(wave[2], wave[2]), half = dot(p, wave[2]) / cc;
        const double inside = half * half - (dot(p, p) - longest2) / cc;
        if (inside < 0) continue;
        int low = static_cast<int>(std::ceil(-half - std::sqrt(inside)));
        const int high = static_cast<int>(std::floor(-half + std::sqrt(inside)));
        if (h == 0 && k == 0) low = 1;
        low = std::max(low, -most[2]);
        const int n_waves = std::min(high, most[2]) - low + 1;
        if (n_waves <= 0) continue;
        double squared[3];
        for (int l = 0; l < n_waves; ++l) {
          for (int a = 0; a < 3; ++a) squared[a] = p[a] + (low + l) * wave[2][a];
          const double k2 = dot(squared, squared);
          strengths_[l] = kCoulomb * 8 * kPi / basis.volume *
                          std::exp(-k2 / (4 * screening * screening)) / k2;
        }
        const int abs_k = std::abs(k), abs_l = std::abs(low);
        const FarWaves waves{padded_sites_,
                             padded_charges_.data(),
                             {table(0, h, 0), table(0, h, 1)},
                             {table(1, abs_k, 0), table(1, abs_k, 1)},
                             {table(2, abs_l, 0), table(2, abs_l, 1)},
                             {table(2, 1, 0), table(2, 1, 1)},
                             {1.0, k < 0 ? -1.0 : 1.0, low < 0 ? -1.0 : 1.0},
                             {h, k},
                             low,
                             n_waves,
                             strengths_.data(),
                             {first_[0].data(), first_[1].data()},
                             aligned,
                             factors_.data(),
                             {wave_sums_[0].data(), wave_sums_[1].data(), wave_sums_[2].data(),
                              wave_sums_[3].data()}};
        kernels.plane_waves(waves);
        for (int l = 0; l < n_waves; ++l) {
          double g[3];
          for (int a = 0; a < 3; ++a) g[a] = p[a] + (low + l) * wave[2][a];
          const double re = factors_[2 * l], im = factors_[2 * l + 1];
          const double e = 0.5 * strengths_[l] * (re * re + im * im);
          const double by = 2 * e * (1 / dot(g, g) + 1 / (4 * screening * screening));
          energy += e;
          for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 3; ++b) to.virial[3 * a + b] += by * g[a] * g[b];
        }
      }
    double total = 0;
    for (double q : charges_) total += q;
    const double background = -kCoulomb * kPi / (basis.volume * screening * screening) * total;
    energy += 0.5 * background * total;
    for (int a = 0; a < 3; ++a) to.virial[4 * a] -= energy;
    for (std::int64_t m = 0; m < n_sites_; ++m) {
      potential_[m] += wave_sums_[0][m] + background -
                       kCoulomb * charges_[m] * screening * 2 / std::sqrt(kPi);
      for (int a = 0; a < 3; ++a)
        gradient_[3 * m + a] += charges_[m] * (wave_sums_[1][m] * wave[0][a] +
                                               wave_sums_[2][m] * wave[1][a] +
                                               wave_sums_[3][m] * wave[2][a]);
    }
    for (std::int64_t m = 0; n_kinds_ > 1 && m < n_sites_; m += 2) {
      const double* d = &offsets_[3 * m + 3];
      double slope;
      const double value = erf_over_root(screening * screening * dot(d, d), slope);
      const double kernel = kCoulomb * screening * value;
      potential_[m] -= charges_[m + 1] * kernel;
      potential_[m + 1] -= charges_[m] * kernel;
      const double along = -charges_[m] * charges_[m + 1] * kCoulomb * screening * slope * 2 *
                           screening * screening;
      for (int a = 0; a < 3; ++a) {
        gradient_[3 * m + 3 + a] += along * d[a];
        gradient_[3 * m + a] -= along * d[a];
        for (int b = 0; b < 3; ++b) to.virial[3 * a + b] += along * d[a] * d[b];
      }
    }
  }

  // cos and sin of 2π n s for each site and number n from 0 on, s its fractional coordinate
  void make_tables(const FarKernels& kernels, const Basis& basis, const int* most) {
    padded_sites_ = (n_sites_ + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
    padded_charges_.assign(padded_sites_, 0.0);
    std::copy(charges_.begin(), charges_.end(), padded_charges_.begin());
    for (auto& room : first_) room.resize(padded_sites_);
    for (int d = 0; d < 3; ++d) {
      tables_[d].assign(2 * padded_sites_ * (std::max(most[d], 1) + 1), 0.0);
      double* const start = tables_[d].data();
      for (std::int64_t m = 0; m < n_sites_; ++m) {
        double part = 0;
        for (int a = 0; a < 3; ++a)
          part += (cloud_.place(m / n_kinds_)[a] + offsets_[3 * m + a]) * basis.inverse[a][d];
        start[m] = 1;
        start[2 * padded_sites_ + m] = std::cos(2 * kPi * part);
        start[3 * padded_sites_ + m] = std::sin(2 * kPi * part);
      }
      for (int n = 2; n <= most[d]; ++n) {
        const std::int64_t M = padded_sites_;
        const double *one = start + 2 * M, *before = start + 2 * (n - 1) * M;
        double* to = start + 2 * n * M;
        for (std::int64_t m = 0; m < M; ++m) {
          to[m] = before[m] * one[m] - before[M + m] * one[M + m];
          to[M + m] = before[m] * one[M + m] + before[M + m] * one[m];
        }
      }
    }
  }
  const double* table(int d, int number, int part) const {
    return tables_[d].data() + (2 * number + part) * padded_sites_;
  }

  // erf(√x) / √x and its derivative by x
  static double erf_over_root(double x, double& slope) {
    if (x > 1) {
      const double root = std::sqrt(x), value = std::erf(root) / root;
      slope = (std::exp(-x) / std::sqrt(kPi) - 0.5 * value) / x;
      return value;
    }
    double value = 0, power = 2 / std::sqrt(kPi), derivative = 0;  // (-x)^n / n! · 2/√π
    for (int n = 0; n < 20; ++n) {
      value += power / (2 * n + 1);
      derivative -= power / (2 * n + 3);
      power *= -x / (n + 1);
    }
    slope = derivative;
    return value;
  }

  // From sites to atoms; where the cell is strained, what shells are displaced stays
  void hand_out(const FarStructure& s, const ChargedGradients& to) {
    for (std::int64_t n = 0; n < s.n_atoms; ++n) {
      to.charges[n] += potential_[n_kinds_ * n];
      if (n_kinds_ > 1) to.electrons[n] += potential_[2 * n] - potential_[2 * n + 1];
      for (int kind = 0; kind < n_kinds_; ++kind) {
        const std::int64_t site = n_kinds_ * n + kind;
        const double* g = &gradient_[3 * site];
        to.energies[n] += 0.5 * charges_[site] * potential_[site];
        for (int a = 0; a < 3; ++a) {
          to.positions[3 * n + a] += g[a];
          if (kind == 1) to.shells[3 * n + a] += g[a];
          for (int b = 0; b < 3; ++b) to.virial[3 * a + b] -= g[a] * offsets_[3 * site + b];
        }
      }
    }
  }

  Cloud cloud_;
  int n_kinds_ = 1;
  std::int64_t n_sites_ = 0, padded_sites_ = 0;
  std::vector<double> charges_, offsets_, potential_, gradient_, spread_charges_[2], shells_[3];
  std::vector<double> padded_charges_, tables_[3], first_[2], strengths_, factors_, sums_,
      wave_sums_[4];
};
