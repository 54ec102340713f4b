// Charges that neighbours hand to each other: t_ij = φ(d_ij) Σ_k (a_ik b_jk - b_ik a_jk); see
// potentials/terms/charges.py. In float64.
#pragma once

#include <cmath>
#include <cstdint>

struct Ends {  // of K products: a, and from `second` on b
  const double* data;  // of an atom, `stride` numbers
  std::int64_t stride, second;
  int n_products;

  double product(std::int64_t i, std::int64_t j) const {  // Σ_k (a_ik b_jk - b_ik a_jk)
    const double *p = data + stride * i, *q = data + stride * j;
    double total = 0;
    for (int k = 0; k < n_products; ++k) total += p[k] * q[second + k] - p[second + k] * q[k];
    return total;
  }
  // And the gradient of `factor` times it
  void product_back(std::int64_t i, std::int64_t j, double factor, double* to) const {
    const double *p = data + stride * i, *q = data + stride * j;
    double *to_p = to + stride * i, *to_q = to + stride * j;
    for (int k = 0; k < n_products; ++k) {
      to_p[k] += factor * q[second + k];
      to_p[second + k] -= factor * q[k];
      to_q[k] -= factor * p[second + k];
      to_q[second + k] += factor * p[k];
    }
  }
};

struct Envelope {  // of a length within the cutoff
  double value, slope;

  static Envelope at(double length, double cutoff, bool polynomial) {
    if (polynomial) {
      const double x = length / cutoff, y = 1 - x;
      return {y * y * y * (1 + 3 * x + 6 * x * x), -30 * x * x * y * y / cutoff};
    }
    const double turn = 3.141592653589793 / cutoff;
    return {0.5 * std::cos(turn * length) + 0.5, -0.5 * turn * std::sin(turn * length)};
  }
};
