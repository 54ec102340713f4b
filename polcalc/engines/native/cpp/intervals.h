// Where a length lies in the tables of filters.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "engine.h"

class Intervals {  // of the tables: which one a length lies in
 public:
  struct Place {
    std::int64_t interval;
    double t, density;  // position in the interval, 0 to 1; intervals per Å
  };

  explicit Intervals(const Model& model)
      : cells_(model.cells),
        n_intervals_(model.n_intervals),
        crowding_(model.crowding),
        scale_(cells_.empty() ? n_intervals_ / std::log1p(crowding_ * model.cutoff)
                              : cells_.size() / model.cutoff) {
    first_.reserve(cells_.size());
    std::int64_t first = 0;
    for (int count : cells_) {
      first_.push_back(first);
      first += count;
    }
  }

  Place at(double length) const {
    if (cells_.empty())
      return within(0, n_intervals_, scale_ * std::log1p(crowding_ * length),
                    scale_ * crowding_ / (1 + crowding_ * length));
    const double place = scale_ * length;
    const std::size_t cell = std::min(static_cast<std::size_t>(place), cells_.size() - 1);
    return within(first_[cell], cells_[cell], (place - static_cast<double>(cell)) * cells_[cell],
                  scale_ * cells_[cell]);
  }

 private:
  static Place within(std::int64_t first, std::int64_t count, double number, double density) {
    const std::int64_t interval =
        std::min<std::int64_t>(static_cast<std::int64_t>(number), count - 1);
    return {first + interval, number - static_cast<double>(interval), density};
  }

  std::vector<int> cells_;
  std::vector<std::int64_t> first_;
  std::int64_t n_intervals_;
  double crowding_, scale_;
};
