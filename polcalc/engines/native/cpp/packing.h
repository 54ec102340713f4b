// From the arrays of a Model to the padded and packed weights of the kernels.
#pragma once

#include <list>
#include <string>

#include "engine.h"

template <typename T>
class Packed {
 public:
  Weights<T> weights{};

  Packed(const Model& model, int panel) : model_(model), panel_(panel), channels_(model.channels), width_(static_cast<int>(padded(channels_))) { pack(); }

  // From the arrays of the Model as they are now
  void pack() {
    const Model& model = model_;
    Weights<T>& w = weights;
    const int C = channels_;
    next_ = buffers_.begin();
    w.channels = C;
    w.width = width_;
    w.hidden = static_cast<int>(padded(2 * C));
    w.head = static_cast<int>(padded(model.head));
    w.n_heads = model.n_heads;
    w.n_values = model.n_values;
    w.values = static_cast<int>(padded(model.n_heads * model.n_values));
    w.scores = static_cast<int>(padded(model.n_heads));
    w.common = static_cast<int>(padded(model.n_heads * (model.n_values + 1)));
    w.n_layers = model.n_layers;
    w.one_sided = model.one_sided;
    set_species(model.at("species", 2L * model.n_species * C), model.n_species);
    w.table = table("table.0");
    w.self_loop = rows("self.0", 1);
    w.norm_scale = rows("norm.weight", 1);
    w.norm_shift = rows("norm.bias", 1);
    w.gate_bias_1 = row("gate_1.bias", 2 * C);
    w.gate_bias_2 = rows("gate_2.bias", 3);
    w.read_scale = rows("read_norm.weight", 3);
    w.read_shift = rows("read_norm.bias", 3);
    w.read_bias = rows("read.bias", 1);
    w.head_bias = row("head_1.bias", model.head);
    w.head_row = row("head_2.weight", model.head);
    w.head_constant = T(*model.at("head_2.bias", 1));
    mixing("mix", w.mix, w.mix_back);
    linear("gate_1", Axis{C, 1}, Axis{2 * C, 1}, w.gate_1, w.gate_1_back);
    linear("gate_2", Axis{2 * C, 1}, Axis{C, 3}, w.gate_2, w.gate_2_back);
    linear("read", Axis{C, 3}, Axis{C, 1}, w.read, w.read_back);
    linear("head_1", Axis{C, 1}, Axis{model.head, 1}, w.head_1, w.head_1_back);
    for (int l = 0; l < model.n_layers; ++l) {
      const std::string n = std::to_string(l + 1);
      w.layers[l].table = table("table." + n);
      w.layers[l].self_loop = rows("self." + n, 3);
      mixing("mix_in." + n, w.layers[l].mix_in, w.layers[l].mix_in_back);
      mixing("mix_out." + n, w.layers[l].mix_out, w.layers[l].mix_out_back);
      if (l > 0 && model.n_heads > 0) attention("." + n, w.attention[l]);
    }
  }

  void attention(const std::string& n, AttentionWeights<T>& a) {
    const int C = channels_, H = model_.n_heads, V = H * model_.n_values;
    a.norm_scale = rows("attend_norm" + n + ".weight", 3);
    a.norm_shift = rows("attend_norm" + n + ".bias", 3);
    a.own_bias = rows("attend_own" + n + ".bias", 1);
    a.values_bias = row("attend_values" + n + ".bias", V);
    a.scores_bias = row("attend_scores" + n + ".bias", H);
    linear("attend_own" + n, Axis{C, 3}, Axis{C, 1}, a.own, a.own_back);
    linear("attend_values" + n, Axis{C, 3}, Axis{V, 1}, a.values, a.values_back);
    linear("attend_scores" + n, Axis{C, 3}, Axis{H, 1}, a.scores, a.scores_back);
    linear("attend_common" + n, Axis{V + H, 1}, Axis{C, 1}, a.common, a.common_back);
    linear("attend_output" + n, Axis{C, 1}, Axis{C, 1}, a.output, a.output_back);
  }

  // (n, 2, C): what an atom of each kind contributes as receiver and as sender
  void set_species(const double* table, long n) {
    T* to = species_.ensure(2 * n * width_);
    for (long row = 0; row < 2 * n; ++row)
      for (int c = 0; c < width_; ++c) to[row * width_ + c] = c < channels_ ? T(table[row * channels_ + c]) : T(0);
    weights.species = to;
  }

  std::size_t bytes() const {
    std::size_t total = species_.bytes();
    for (const auto& buffer : buffers_) total += buffer.bytes();
    return total;
  }

 private:
  T* zeros(std::size_t n) {
    if (next_ != buffers_.end()) return (next_++)->get();  // of the last time: only what is not padding is written again
    buffers_.emplace_back();
    T* data = buffers_.back().ensure(n);
    for (std::size_t k = 0; k < n; ++k) data[k] = 0;
    return data;
  }

  const T* spread(const double* from, Axis axis) {
    T* to = zeros(axis.wide());
    for (int place : axis.places()) to[place] = T(*from++);
    return to;
  }
  const T* rows(const std::string& name, int n) { return spread(model_.at(name, static_cast<std::size_t>(n) * channels_), Axis{channels_, n}); }
  const T* row(const std::string& name, int length) { return spread(model_.at(name, length), Axis{length, 1}); }

  // Cubics (intervals, power, part, C), or what they are made of: values and slopes at the knots (intervals + 1, 2, part, C), slopes by
  // the number of the knot; to [interval][channels / 16][part][power][16]
  const T* table(const std::string& name) {
    const bool cubics = !model_.cells.empty();
    const long C = channels_, n_intervals = model_.n_intervals, row = 3 * C, step = (cubics ? 4 : 2) * row;
    const double* from = model_.at(name, static_cast<std::size_t>(cubics ? n_intervals : n_intervals + 1) * step);
    T* to = zeros(static_cast<std::size_t>(n_intervals) * 12 * width_);
    for (long n = 0; n < n_intervals; ++n, from += step)
      for (long part = 0; part < 3; ++part)
        for (long c = 0; c < C; ++c) {
          const double *at = from + part * C + c, left = at[0], slope = at[row];
          const double third = cubics ? at[2 * row] : 3 * (at[2 * row] - left) - 2 * slope - at[3 * row];
          const double fourth = cubics ? at[3 * row] : slope + at[3 * row] - 2 * (at[2 * row] - left);
          T* cubic = to + n * 12 * width_ + c / kTile * (kCoefficients * kTile) + part * 4 * kTile + c % kTile;
          cubic[0] = T(left);
          cubic[kTile] = T(slope);
          cubic[2 * kTile] = T(third);
          cubic[3 * kTile] = T(fourth);
        }
    return to;
  }

  // weight[row * row_step + column * column_step] as a matrix from inputs (columns) to outputs (rows)
  Matrix<T> pack(const double* weight, Axis inputs, Axis outputs, long row_step, long column_step) {
    T* to = zeros(static_cast<std::size_t>(inputs.wide()) * outputs.wide());
    const std::vector<int> rows = outputs.places(), columns = inputs.places();
    for (int r = 0; r < outputs.size(); ++r) {
      const double* from = weight + r * row_step;
      T* column = to + static_cast<long>(rows[r] / panel_) * panel_ * inputs.wide() + rows[r] % panel_;
      for (int c = 0; c < inputs.size(); ++c) column[static_cast<long>(columns[c]) * panel_] = T(from[c * column_step]);
    }
    return {to, inputs.wide(), outputs.wide()};
  }
  void both(const double* weight, Axis inputs, Axis outputs, Matrix<T>& forward, Matrix<T>& back) {
    forward = pack(weight, inputs, outputs, inputs.size(), 1);
    back = pack(weight, outputs, inputs, 1, inputs.size());
  }
  void linear(const std::string& name, Axis inputs, Axis outputs, Matrix<T>& forward, Matrix<T>& back) {
    both(model_.at(name + ".weight", static_cast<std::size_t>(inputs.size()) * outputs.size()), inputs, outputs, forward, back);
  }
  void mixing(const std::string& name, Matrix<T>* forward, Matrix<T>* back) {
    const std::size_t square = static_cast<std::size_t>(channels_) * channels_;
    const double* weight = model_.at(name, 3 * square);
    for (int part = 0; part < 3; ++part) both(weight + part * square, Axis{channels_, 1}, Axis{channels_, 1}, forward[part], back[part]);
  }

  const Model& model_;
  int panel_, channels_, width_;
  std::list<Buffer<T>> buffers_;
  typename std::list<Buffer<T>>::iterator next_;
  Buffer<T> species_;
};
