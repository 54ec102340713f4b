// Gradients by the weights that one thread found: kept in the padded layout of the kernels, handed
// out in that of the arrays of a Model.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine.h"
#include "weights.h"

template <typename T>
class GradientStore {
 public:
  Gradients<T> gradients{};

  GradientStore(const Model& model, int width, int n_layers)
      : C_(model.channels), n_intervals_(model.n_intervals), width_(width), n_layers_(n_layers) {
    Weights<T> none{};
    visit_weights<T>(model, none, gradients, *this);
  }

  // For `visit_weights`
  void rows(const std::string& name, Axis axis, const T*&, T*& place) {
    const auto add = [places = axis.places()](const T* from, T* to) {
      for (int place : places) *to++ += from[place];
    };
    slots_.push_back({name, &place, axis.wide(), add, axis.size()});
  }
  void scalar(const std::string& name, T&, T*& place) {
    slots_.push_back({name, &place, 1, [](const T* from, T* to) { *to += *from; }, 1});
  }
  void matrix(const std::string& name, Axis inputs, Axis outputs, Matrix<T>&, Matrix<T>&,
              T*& place) {
    const auto add = [rows = outputs.places(), inputs](const T* from, T* to) {
      for (int row : rows)
        for (int part = 0; part < inputs.parts; ++part) {
          const T* run =
              from + static_cast<std::int64_t>(row) * inputs.wide() + part * padded(inputs.length);
          for (int k = 0; k < inputs.length; ++k) *to++ += run[k];
        }
    };
    slots_.push_back({name, &place, static_cast<std::int64_t>(outputs.wide()) * inputs.wide(), add,
                      static_cast<std::int64_t>(outputs.size()) * inputs.size()});
  }
  void mixing(const std::string& name, Matrix<T>* forward, Matrix<T>* back, T** places) {
    const char* const parts[3] = {".I", ".A", ".S"};
    const Axis one{C_, 1};
    for (int part = 0; part < 3; ++part)
      matrix(name + parts[part], one, one, forward[part], back[part], places[part]);
  }
  void table(const std::string& name, const T*&, T*& place) {
    const std::int64_t C = C_, n = n_intervals_;
    slots_.push_back({name, &place, n * kCoefficients * width_,
                      [this](const T* from, T* to) { from_table(from, to); }, 2 * (n + 1) * 3 * C});
  }

  // Start anew, for structures of so many kinds of atoms and rows of state factors
  void clear(std::int64_t n_kinds, std::int64_t factor_rows) {
    const std::int64_t W = width_;
    std::int64_t total = 2 * n_kinds * W + n_layers_ * factor_rows * W;
    for (const Slot& slot : slots_) total += padded(slot.size);
    T* next = buffer_.ensure(total);
    for (std::int64_t k = 0; k < total; ++k) next[k] = 0;
    for (const Slot& slot : slots_) {
      *slot.place = next;
      next += padded(slot.size);
    }
    gradients.species = next;
    next += 2 * n_kinds * W;
    for (int l = 0; l < n_layers_; ++l, next += factor_rows * W) gradients.layers[l].factor = next;
    n_kinds_ = n_kinds;
    factor_rows_ = factor_rows;
  }

  // Whether it is made for structures of so many kinds of atoms and rows of state factors
  bool fits(std::int64_t n_kinds, std::int64_t factor_rows) const {
    return n_kinds == n_kinds_ && factor_rows == factor_rows_;
  }

  // Add everything to the arrays whose places `place(name, size)` says
  void add_to(const Place& place) const {
    for (const Slot& slot : slots_)
      slot.add(*slot.place, static_cast<T*>(place(slot.name, slot.n)));
    const auto plain = [this](const T* from, std::int64_t n, T* to) {
      for (std::int64_t row = 0; row < n; ++row, from += width_)
        for (int c = 0; c < C_; ++c) *to++ += from[c];
    };
    plain(gradients.species, 2 * n_kinds_, static_cast<T*>(place("species", 2 * n_kinds_ * C_)));
    T* factor = static_cast<T*>(place("factor", n_layers_ * factor_rows_ * C_));
    for (int l = 0; l < n_layers_; ++l)
      plain(gradients.layers[l].factor, factor_rows_, factor + l * factor_rows_ * C_);
  }

 private:
  struct Slot {
    std::string name;
    T** place;
    std::int64_t size;  // padded
    std::function<void(const T*, T*)> add;
    std::int64_t n;  // handed out
  };

  // From cubics to values and slopes at the knots, as Packed::table
  void from_table(const T* from, T* to) const {
    const std::int64_t row = 3LL * C_;
    for (std::int64_t n = 0; n < n_intervals_; ++n, to += 2 * row)
      for (std::int64_t part = 0; part < 3; ++part)
        for (std::int64_t c = 0; c < C_; ++c) {
          const T* cubic = from + n * 12 * width_ + c / kTile * (kCoefficients * kTile) +
                           part * 4 * kTile + c % kTile;
          const T g2 = cubic[2 * kTile], g3 = cubic[3 * kTile], rise = 3 * g2 - 2 * g3;
          T* at = to + part * C_ + c;
          at[0] += cubic[0] - rise;
          at[row] += cubic[kTile] - 2 * g2 + g3;
          at[2 * row] += rise;
          at[3 * row] += g3 - g2;
        }
  }

  int C_, n_intervals_, width_, n_layers_;
  std::vector<Slot> slots_;
  Buffer<T> buffer_;
  std::int64_t n_kinds_ = 0, factor_rows_ = 0;
};
