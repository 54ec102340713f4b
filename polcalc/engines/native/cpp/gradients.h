// Gradients by the weights that one thread found: kept in the padded layout of the kernels, handed out in that of the arrays of a Model.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine.h"

template <typename T>
class GradientStore {
 public:
  Gradients<T> gradients{};

  GradientStore(const Model& model, int width, int n_layers)
      : C_(model.channels), head_(model.head), n_intervals_(model.n_intervals), width_(width), n_layers_(n_layers) {
    const long W = width_, table = static_cast<long>(n_intervals_) * kCoefficients * W;
    Gradients<T>& g = gradients;
    rows("norm.weight", &g.norm_scale, {C_, 1});
    rows("norm.bias", &g.norm_shift, {C_, 1});
    rows("gate_1.bias", &g.gate_bias_1, {2 * C_, 1});
    rows("gate_2.bias", &g.gate_bias_2, {C_, 3});
    rows("read_norm.weight", &g.read_scale, {C_, 3});
    rows("read_norm.bias", &g.read_shift, {C_, 3});
    rows("read.bias", &g.read_bias, {C_, 1});
    rows("head_1.bias", &g.head_bias, {head_, 1});
    rows("head_2.weight", &g.head_row, {head_, 1});
    rows("head_2.bias", &g.head_constant, {1, 1});
    rows("self.0", &g.self_loop, {C_, 1});
    matrix("gate_1.weight", &g.gate_1, {2 * C_, 1}, {C_, 1});
    matrix("gate_2.weight", &g.gate_2, {C_, 3}, {2 * C_, 1});
    matrix("read.weight", &g.read, {C_, 1}, {C_, 3});
    matrix("head_1.weight", &g.head_1, {head_, 1}, {C_, 1});
    mixing("mix", g.mix);
    slots_.push_back({"table.0", &g.table, table, [this](const T* from, T* to) { from_table(from, to); }, 2L * (n_intervals_ + 1) * 3 * C_});
    for (int l = 0; l < model.n_layers; ++l) {
      const std::string n = std::to_string(l + 1);
      rows("self." + n, &g.layers[l].self_loop, {C_, 3});
      mixing("mix_in." + n, g.layers[l].mix_in);
      mixing("mix_out." + n, g.layers[l].mix_out);
      if (l > 0 && model.n_heads > 0) attention("." + n, model.n_heads, model.n_heads * model.n_values, g.attention[l]);
      slots_.push_back({"table." + n, &g.layers[l].table, table, [this](const T* from, T* to) { from_table(from, to); }, 2L * (n_intervals_ + 1) * 3 * C_});
    }
  }

  // Start anew, for structures of so many kinds of atoms and rows of state factors
  void clear(long n_kinds, long factor_rows) {
    const long W = width_;
    long total = 2 * n_kinds * W + n_layers_ * factor_rows * W;
    for (const Slot& slot : slots_) total += padded(slot.size);
    T* next = buffer_.ensure(total);
    for (long k = 0; k < total; ++k) next[k] = 0;
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

  long factor_rows() const { return factor_rows_; }

  // Add everything to the arrays whose places `place(name, size)` says
  void add_to(const Place& place) const {
    for (const Slot& slot : slots_) slot.add(*slot.place, static_cast<T*>(place(slot.name, slot.n)));
    const auto plain = [this](const T* from, long n, T* to) {
      for (long row = 0; row < n; ++row, from += width_)
        for (int c = 0; c < C_; ++c) *to++ += from[c];
    };
    plain(gradients.species, 2 * n_kinds_, static_cast<T*>(place("species", 2 * n_kinds_ * C_)));
    T* factor = static_cast<T*>(place("factor", n_layers_ * factor_rows_ * C_));
    for (int l = 0; l < n_layers_; ++l) plain(gradients.layers[l].factor, factor_rows_, factor + l * factor_rows_ * C_);
  }

 private:
  struct Slot {
    std::string name;
    T** place;
    long size;  // padded
    std::function<void(const T*, T*)> add;
    long n;  // handed out
  };

  void rows(const std::string& name, T** place, Axis axis) {
    const auto add = [places = axis.places()](const T* from, T* to) {
      for (int place : places) *to++ += from[place];
    };
    slots_.push_back({name, place, axis.wide(), add, axis.size()});
  }
  void matrix(const std::string& name, T** place, Axis outputs, Axis inputs) {
    const auto add = [rows = outputs.places(), inputs](const T* from, T* to) {
      for (int row : rows)
        for (int part = 0; part < inputs.parts; ++part) {
          const T* run = from + static_cast<long>(row) * inputs.wide() + part * padded(inputs.length);
          for (int k = 0; k < inputs.length; ++k) *to++ += run[k];
        }
    };
    slots_.push_back({name, place, static_cast<long>(outputs.wide()) * inputs.wide(), add, static_cast<long>(outputs.size()) * inputs.size()});
  }
  void attention(const std::string& n, int H, int V, AttentionGradients<T>& a) {
    rows("attend_norm" + n + ".weight", &a.norm_scale, {C_, 3});
    rows("attend_norm" + n + ".bias", &a.norm_shift, {C_, 3});
    rows("attend_own" + n + ".bias", &a.own_bias, {C_, 1});
    rows("attend_values" + n + ".bias", &a.values_bias, {V, 1});
    rows("attend_scores" + n + ".bias", &a.scores_bias, {H, 1});
    matrix("attend_own" + n + ".weight", &a.own, {C_, 1}, {C_, 3});
    matrix("attend_values" + n + ".weight", &a.values, {V, 1}, {C_, 3});
    matrix("attend_scores" + n + ".weight", &a.scores, {H, 1}, {C_, 3});
    matrix("attend_common" + n + ".weight", &a.common, {C_, 1}, {V + H, 1});
    matrix("attend_output" + n + ".weight", &a.output, {C_, 1}, {C_, 1});
  }
  void mixing(const std::string& name, T** places) {
    const char* const parts[3] = {".I", ".A", ".S"};
    for (int part = 0; part < 3; ++part) matrix(name + parts[part], &places[part], {C_, 1}, {C_, 1});
  }
  // From cubics to values and slopes at the knots, as Packed::table
  void from_table(const T* from, T* to) const {
    const long row = 3L * C_;
    for (long n = 0; n < n_intervals_; ++n, to += 2 * row)
      for (long part = 0; part < 3; ++part)
        for (long c = 0; c < C_; ++c) {
          const T* cubic = from + n * 12 * width_ + c / kTile * (kCoefficients * kTile) + part * 4 * kTile + c % kTile;
          const T g2 = cubic[2 * kTile], g3 = cubic[3 * kTile], rise = 3 * g2 - 2 * g3;
          T* at = to + part * C_ + c;
          at[0] += cubic[0] - rise;
          at[row] += cubic[kTile] - 2 * g2 + g3;
          at[2 * row] += rise;
          at[3 * row] += g3 - g2;
        }
  }

  int C_, head_, n_intervals_, width_, n_layers_;
  std::vector<Slot> slots_;
  Buffer<T> buffer_;
  long n_kinds_ = 0, factor_rows_ = 0;
};
