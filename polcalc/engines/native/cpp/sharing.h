// Charge and unpaired electrons of a molecule shared out over its atoms, from the numbers u, a, b, c
// and d that each of them says; see potentials/parts/electrons.py. In float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

struct Totals {  // of the parts over which is shared out
  const std::int64_t* parts;  // (N)
  std::int64_t n_parts;
  const double *charges, *unpaired;  // e, and electrons
};

class Sharing {
 public:
  static constexpr int kNumbers = 5;
  std::vector<double> formal, unrounded, excess, unpaired;  // (N)

  void share(std::int64_t n_atoms, const double* numbers, const Totals& totals) {
    N_ = n_atoms;
    numbers_ = numbers;
    totals_ = totals;
    for (auto* of_atoms : {&formal, &unrounded, &excess, &unpaired}) of_atoms->resize(N_);
    left_.assign(totals.charges, totals.charges + totals.n_parts);
    for (std::int64_t n = 0; n < N_; ++n) {
      unrounded[n] = numbers[kNumbers * n];
      formal[n] = rounded(unrounded[n]).value;
      left_[totals.parts[n]] -= formal[n];
    }
    signs_.resize(totals.n_parts);
    for (std::int64_t p = 0; p < totals.n_parts; ++p) signs_[p] = rounded(kept(left_[p])).value;
    softmax(1, excess_shares_);
    softmax(3, unpaired_shares_);
    for (std::int64_t n = 0; n < N_; ++n) {
      const std::int64_t p = totals.parts[n];
      excess[n] = formal[n] + left_[p] * excess_shares_[n];
      unpaired[n] = totals.unpaired[p] * unpaired_shares_[n];
    }
  }

  // From gradients by what is shared out, and by formal charges, to those by the numbers (N, 5)
  void back(const double* to_excess, const double* to_unpaired, const double* to_formal,
            const double* to_unrounded, double* to_numbers) {
    const std::int64_t F = totals_.n_parts;
    for (auto* sums : {&excess_sums_, &unpaired_sums_, &to_signs_}) sums->assign(F, 0.0);
    for (std::int64_t n = 0; n < N_; ++n) {
      excess_sums_[totals_.parts[n]] += excess_shares_[n] * to_excess[n];
      unpaired_sums_[totals_.parts[n]] += unpaired_shares_[n] * to_unpaired[n];
    }
    for (std::int64_t n = 0; n < N_; ++n) {
      const std::int64_t p = totals_.parts[n];
      const double *said = numbers_ + kNumbers * n;
      double* to = to_numbers + kNumbers * n;
      to[1] = left_[p] * excess_shares_[n] * (to_excess[n] - excess_sums_[p]);
      to[2] = signs_[p] * to[1];
      to[3] = totals_.unpaired[p] * unpaired_shares_[n] * (to_unpaired[n] - unpaired_sums_[p]);
      to[4] = signs_[p] * to[3];
      to_signs_[p] += to[1] * said[2] + to[3] * said[4];
    }
    for (std::int64_t n = 0; n < N_; ++n) {
      const std::int64_t p = totals_.parts[n];
      const double by_left = excess_sums_[p] + to_signs_[p] * rounded(kept(left_[p])).slope;
      const double by_formal = to_excess[n] - by_left + (to_formal ? to_formal[n] : 0.0);
      to_numbers[kNumbers * n] = by_formal * rounded(unrounded[n]).slope +
                                 (to_unrounded ? to_unrounded[n] : 0.0);
    }
  }

 private:
  struct Rounded {
    double value, slope;
  };
  static Rounded rounded(double x) {  // to the nearest integer, constant within a quarter of each
    constexpr double flat = 0.25;
    const double below = std::floor(x);
    const double t = std::clamp((x - below - flat) / (1 - 2 * flat), 0.0, 1.0);
    return {below + t * t * t * (10 + t * (6 * t - 15)),
            30 * t * t * (1 - t) * (1 - t) / (1 - 2 * flat)};
  }
  static double kept(double left) { return std::clamp(left, -1.0, 1.0); }

  // Of the scores that numbers `first` and the next make, over each part
  void softmax(int first, std::vector<double>& shares) {
    const auto score = [&](std::int64_t n) {
      const double* said = numbers_ + kNumbers * n + first;
      return said[0] + said[1] * signs_[totals_.parts[n]];
    };
    largest_.assign(totals_.n_parts, -std::numeric_limits<double>::infinity());
    sums_.assign(totals_.n_parts, 0.0);
    shares.resize(N_);
    for (std::int64_t n = 0; n < N_; ++n)
      largest_[totals_.parts[n]] = std::max(largest_[totals_.parts[n]], score(n));
    for (std::int64_t n = 0; n < N_; ++n)
      sums_[totals_.parts[n]] += shares[n] = std::exp(score(n) - largest_[totals_.parts[n]]);
    for (std::int64_t n = 0; n < N_; ++n) shares[n] /= sums_[totals_.parts[n]];
  }

  std::int64_t N_ = 0;
  const double* numbers_ = nullptr;
  Totals totals_{};
  std::vector<double> excess_shares_, unpaired_shares_;                       // (N)
  std::vector<double> left_, signs_, largest_, sums_;                         // of parts
  std::vector<double> excess_sums_, unpaired_sums_, to_signs_;
};
