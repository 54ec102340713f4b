// From the arrays of a Model to the padded and packed weights of the kernels.
#pragma once

#include <list>
#include <string>

#include "engine.h"
#include "weights.h"

template <typename T>
class Packed {
 public:
  Weights<T> weights{};

  Packed(const Model& model, int panel)
      : model_(model),
        panel_(panel),
        channels_(model.channels),
        width_(static_cast<int>(padded(channels_))) {
    pack();
  }

  // From the arrays of the Model as they are now
  void pack() {
    const Model& model = model_;
    Weights<T>& w = weights;
    next_ = buffers_.begin();
    w.channels = channels_;
    w.width = width_;
    w.hidden = static_cast<int>(padded(2 * channels_));
    w.head = static_cast<int>(padded(model.head));
    w.n_heads = model.n_heads;
    w.n_values = model.n_values;
    w.values = static_cast<int>(padded(model.n_heads * model.n_values));
    w.scores = static_cast<int>(padded(model.n_heads));
    w.common = static_cast<int>(padded(model.n_heads * (model.n_values + 1)));
    w.n_layers = model.n_layers;
    w.one_sided = model.one_sided;
    w.charges = model.charges;
    set_species(model.at("species"), model.n_species);
    w.electrons = model.electrons;
    for (const T*& row : w.vector_rows) row = nullptr;
    w.tensor_row = nullptr;
    Gradients<T> none{};
    visit_weights<T>(model, w, none, *this);
  }

  // For `visit_weights`
  void rows(const std::string& name, Axis axis, const T*& to, T*&) {
    to = spread(model_.at(name), axis);
  }
  void scalar(const std::string& name, T& to, T*&) { to = T(*model_.at(name)); }
  void matrix(const std::string& name, Axis inputs, Axis outputs, Matrix<T>& forward,
              Matrix<T>& back, T*&) {
    both(model_.at(name), inputs, outputs, forward, back);
  }
  void mixing(const std::string& name, Matrix<T>* forward, Matrix<T>* back, T**) {
    const Axis one{channels_, 1};
    const std::size_t square = static_cast<std::size_t>(channels_) * channels_;
    for (int part = 0; part < 3; ++part)
      both(model_.at(name) + part * square, one, one, forward[part], back[part]);
  }
  void table(const std::string& name, const T*& to, T*&) { to = cubics(model_.at(name)); }

  // (n, 2, C): what an atom of each kind contributes as receiver and as sender
  void set_species(const double* table, std::int64_t n) {
    T* to = species_.ensure(2 * n * width_);
    for (std::int64_t row = 0; row < 2 * n; ++row)
      for (int c = 0; c < width_; ++c)
        to[row * width_ + c] = c < channels_ ? T(table[row * channels_ + c]) : T(0);
    weights.species = to;
  }

  std::size_t bytes() const {
    std::size_t total = species_.bytes();
    for (const auto& buffer : buffers_) total += buffer.bytes();
    return total;
  }

 private:
  T* zeros(std::size_t n) {
    if (next_ != buffers_.end())
      return (next_++)->get();  // of the last time: only what is not padding is written again
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

  // Cubics (intervals, power, part, C), or what they are made of: values and slopes at the knots
  // (intervals + 1, 2, part, C), slopes by the number of the knot; to [interval][channels /
  // 16][part][power][16]
  const T* cubics(const double* from) {
    const bool cubics = !model_.cells.empty();
    const std::int64_t C = channels_, n_intervals = model_.n_intervals, row = 3 * C,
                       step = (cubics ? 4 : 2) * row;
    T* to = zeros(static_cast<std::size_t>(n_intervals) * 12 * width_);
    for (std::int64_t n = 0; n < n_intervals; ++n, from += step)
      for (std::int64_t part = 0; part < 3; ++part)
        for (std::int64_t c = 0; c < C; ++c) {
          const double *at = from + part * C + c, left = at[0], slope = at[row];
          const double third =
              cubics ? at[2 * row] : 3 * (at[2 * row] - left) - 2 * slope - at[3 * row];
          const double fourth =
              cubics ? at[3 * row] : slope + at[3 * row] - 2 * (at[2 * row] - left);
          T* cubic = to + n * 12 * width_ + c / kTile * (kCoefficients * kTile) + part * 4 * kTile +
                     c % kTile;
          cubic[0] = T(left);
          cubic[kTile] = T(slope);
          cubic[2 * kTile] = T(third);
          cubic[3 * kTile] = T(fourth);
        }
    return to;
  }

  // weight[row * row_step + column * column_step] as a matrix from inputs (columns) to outputs
  // (rows)
  Matrix<T> pack(const double* weight, Axis inputs, Axis outputs, std::int64_t row_step,
                 std::int64_t column_step) {
    T* to = zeros(static_cast<std::size_t>(inputs.wide()) * outputs.wide());
    const std::vector<int> rows = outputs.places(), columns = inputs.places();
    for (int r = 0; r < outputs.size(); ++r) {
      const double* from = weight + r * row_step;
      T* column = to + static_cast<std::int64_t>(rows[r] / panel_) * panel_ * inputs.wide() +
                  rows[r] % panel_;
      for (int c = 0; c < inputs.size(); ++c)
        column[static_cast<std::int64_t>(columns[c]) * panel_] = T(from[c * column_step]);
    }
    return {to, inputs.wide(), outputs.wide()};
  }
  void both(const double* weight, Axis inputs, Axis outputs, Matrix<T>& forward, Matrix<T>& back) {
    forward = pack(weight, inputs, outputs, inputs.size(), 1);
    back = pack(weight, outputs, inputs, 1, inputs.size());
  }
  const Model& model_;
  int panel_, channels_, width_;
  std::list<Buffer<T>> buffers_;
  typename std::list<Buffer<T>>::iterator next_;
  Buffer<T> species_;
};
