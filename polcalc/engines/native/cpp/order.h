// The internal order of the atoms: that of a curve through space where they are many, for the caches.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "engine.h"

class Order {
 public:
  std::vector<int> place, atom;  // (N) of an atom as given; as given at a place

  void make(const Structure& s) {
    const std::int64_t N = s.n_atoms;
    place.resize(N);
    atom.resize(N);
    for (std::int64_t n = 0; n < N; ++n) atom[n] = static_cast<int>(n);
    if (N >= kSortFrom) {
      codes_.resize(N);
      for (std::int64_t n = 0; n < N; ++n) codes_[n] = interleaved(s.positions + 3 * n);
      std::sort(atom.begin(), atom.end(), [this](int a, int b) {
        return codes_[a] != codes_[b] ? codes_[a] < codes_[b] : a < b;
      });
    }
    for (std::int64_t n = 0; n < N; ++n) place[atom[n]] = static_cast<int>(n);
  }

 private:
  static constexpr std::int64_t kSortFrom = 512;    // atoms
  static constexpr double kCells = 1 << 20;         // to each side of the origin
  static constexpr double kCell = 4.0;              // Å

  static std::uint64_t interleaved(const double* r) {  // Morton code of the cell of a point
    std::uint64_t code = 0;
    for (int a = 0; a < 3; ++a) {
      const double number = std::clamp(std::floor(r[a] / kCell), -kCells, kCells - 1);
      const auto cell = static_cast<std::uint64_t>(static_cast<std::int64_t>(number + kCells));
      for (int bit = 0; bit < 21; ++bit) code |= (cell >> bit & 1) << (3 * bit + a);
    }
    return code;
  }

  std::vector<std::uint64_t> codes_;
};
