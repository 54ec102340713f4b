// The ZBL term of potentials/terms/energies.py, in float64. Arrays zbl.number, zbl.power (Z^0.23),
// zbl.radius (Å) of each species.
#pragma once

#include <cmath>
#include <vector>

#include "engine.h"

class Repulsion {
 public:
  explicit Repulsion(const Model& model) : on_(model.repulsion) {
    if (!on_) return;
    number_ = model.at("zbl.number");
    power_ = model.at("zbl.power");
    radius_ = model.at("zbl.radius");
  }

  void start(std::int64_t n_atoms) {
    if (!on_) return;
    energies_.assign(n_atoms, 0.0);
    forces_.assign(3 * n_atoms, 0.0);
    for (double& v : virial_) v = 0;
  }

  void add(std::int64_t i, std::int64_t j, std::int64_t species_i, std::int64_t species_j,
           const double* vector, double length) {
    const double reach = radius_[species_i] + radius_[species_j];  // Å
    if (!(length < reach) || length == 0) return;
    constexpr double weights[4] = {0.18175, 0.50986, 0.28022, 0.02817},
                     rates[4] = {3.19980, 0.94229, 0.40290, 0.20162};
    constexpr double coulomb = 14.399645;  // e²/(4πε0), eV Å
    const double inverse_length =
        (power_[species_i] + power_[species_j]) / 0.46850;  // of the screening, 1/Å
    double screening = 0, slope = 0;
    for (int k = 0; k < 4; ++k) {
      const double term = weights[k] * std::exp(-rates[k] * length * inverse_length);
      screening += term;
      slope -= rates[k] * inverse_length * term;
    }
    const double x = length / reach, left = 1 - x;
    const double envelope = left * left * left * (1 + 3 * x + 6 * x * x),
                 envelope_slope = -30 * x * x * left * left / reach;
    const double bare = coulomb * number_[species_i] * number_[species_j] / length;
    const double energy = bare * screening * envelope;
    const double along = bare * (slope * envelope + screening * envelope_slope) - energy / length;
    energies_[i] += 0.5 * energy;
    energies_[j] += 0.5 * energy;
    for (int a = 0; a < 3; ++a) {
      const double g = along * vector[a] / length;
      forces_[3 * i + a] += g;
      forces_[3 * j + a] -= g;
      for (int b = 0; b < 3; ++b) virial_[3 * a + b] += g * vector[b];
    }
  }

  double energy(std::int64_t n) const { return on_ ? energies_[n] : 0.0; }
  double force(std::int64_t k) const { return on_ ? forces_[k] : 0.0; }
  double virial(int k) const { return on_ ? virial_[k] : 0.0; }

 private:
  bool on_;
  const double *number_ = nullptr, *power_ = nullptr, *radius_ = nullptr;
  std::vector<double> energies_, forces_;
  double virial_[9] = {};
};
