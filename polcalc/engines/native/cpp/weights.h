// The one list of arrays that a Model holds: name, shape, where the packed numbers lie and where
// their gradients are added. Who packs them, hands out gradients or counts them is a visitor.
#pragma once

#include <string>

#include "engine.h"

// Calls of the visitor: rows(name, axis, packed, gradient); scalar likewise; matrix(name, inputs,
// outputs, packed, packed transpose, gradient); mixing, three matrices, for I, A and S, of one
// array; table(name, packed, gradient). What depends on the state comes beside: species, reference.
template <typename T, typename Visitor>
void visit_weights(const Model& model, Weights<T>& w, Gradients<T>& g, Visitor& visitor) {
  const int C = model.channels, H = model.n_heads, V = H * model.n_values;
  const Axis one{C, 1}, three{C, 3}, twice{2 * C, 1}, head{model.head, 1};
  visitor.table("table.0", w.table, g.table);
  visitor.rows("self.0", one, w.self_loop, g.self_loop);
  visitor.rows("norm.weight", one, w.norm_scale, g.norm_scale);
  visitor.rows("norm.bias", one, w.norm_shift, g.norm_shift);
  visitor.matrix("gate_1.weight", one, twice, w.gate_1, w.gate_1_back, g.gate_1);
  visitor.rows("gate_1.bias", twice, w.gate_bias_1, g.gate_bias_1);
  visitor.matrix("gate_2.weight", twice, three, w.gate_2, w.gate_2_back, g.gate_2);
  visitor.rows("gate_2.bias", three, w.gate_bias_2, g.gate_bias_2);
  visitor.mixing("mix", w.mix, w.mix_back, g.mix);
  visitor.rows("read_norm.weight", three, w.read_scale, g.read_scale);
  visitor.rows("read_norm.bias", three, w.read_shift, g.read_shift);
  visitor.matrix("read.weight", three, one, w.read, w.read_back, g.read);
  visitor.rows("read.bias", one, w.read_bias, g.read_bias);
  visitor.matrix("head_1.weight", one, head, w.head_1, w.head_1_back, g.head_1);
  visitor.rows("head_1.bias", head, w.head_bias, g.head_bias);
  visitor.rows("head_2.weight", head, w.head_row, g.head_row);
  visitor.scalar("head_2.bias", w.head_constant, g.head_constant);
  if (model.n_products) {
    const Axis ends{model.n_products, 2};
    visitor.matrix("ends.weight", one, ends, w.ends, w.ends_back, g.ends);
    visitor.rows("ends.bias", ends, w.ends_bias, g.ends_bias);
  } else if (model.charges) {
    visitor.matrix("charge_1.weight", one, head, w.charge_1, w.charge_1_back, g.charge_1);
    visitor.rows("charge_1.bias", head, w.charge_bias, g.charge_bias);
    visitor.rows("charge_2.weight", head, w.charge_row, g.charge_row);
    visitor.scalar("charge_2.bias", w.charge_constant, g.charge_constant);
  }
  if (model.polarizable) {
    visitor.matrix("root_1.weight", one, head, w.root_1, w.root_1_back, g.root_1);
    visitor.rows("root_1.bias", head, w.root_bias, g.root_bias);
    visitor.rows("root_2.weight", head, w.root_row, g.root_row);
    visitor.scalar("root_2.bias", w.root_constant, g.root_constant);
    visitor.rows("root_tensor.weight", one, w.tensor_row, g.tensor_row);
  }
  if (model.shells) visitor.rows("shell.weight", one, w.vector_rows[0], g.vector_rows[0]);
  if (model.dipoles) visitor.rows("dipole.weight", one, w.vector_rows[1], g.vector_rows[1]);
  if (model.electrons) {
    const Axis numbers{5, 1}, known{2, 1};
    visitor.rows("share_norm.weight", three, w.share_scale, g.share_scale);
    visitor.rows("share_norm.bias", three, w.share_shift, g.share_shift);
    visitor.matrix("share_1.weight", three, one, w.share_1, w.share_1_back, g.share_1);
    visitor.rows("share_1.bias", one, w.share_bias, g.share_bias);
    visitor.matrix("share_2.weight", one, numbers, w.share_2, w.share_2_back, g.share_2);
    visitor.matrix("state_1.weight", known, one, w.state_1, w.state_1_back, g.state_1);
    visitor.matrix("state_2.weight", one, one, w.state_2, w.state_2_back, g.state_2);
  }
  for (int l = 0; l < model.n_layers; ++l) {
    const std::string n = "." + std::to_string(l + 1);
    LayerWeights<T>& layer = w.layers[l];
    LayerGradients<T>& to = g.layers[l];
    visitor.table("table" + n, layer.table, to.table);
    visitor.rows("self" + n, three, layer.self_loop, to.self_loop);
    visitor.mixing("mix_in" + n, layer.mix_in, layer.mix_in_back, to.mix_in);
    visitor.mixing("mix_out" + n, layer.mix_out, layer.mix_out_back, to.mix_out);
    if (l > 0 && model.electrons)
      visitor.rows("strength" + n, Axis{C, 2}, layer.strength, to.strength);
    if (l == 0 || H == 0) continue;
    AttentionWeights<T>& a = w.attention[l];
    AttentionGradients<T>& ag = g.attention[l];
    const Axis heads{H, 1}, values{V, 1}, common{V + H, 1};
    visitor.rows("attend_norm" + n + ".weight", three, a.norm_scale, ag.norm_scale);
    visitor.rows("attend_norm" + n + ".bias", three, a.norm_shift, ag.norm_shift);
    visitor.matrix("attend_own" + n + ".weight", three, one, a.own, a.own_back, ag.own);
    visitor.rows("attend_own" + n + ".bias", one, a.own_bias, ag.own_bias);
    visitor.matrix("attend_values" + n + ".weight", three, values, a.values, a.values_back,
                   ag.values);
    visitor.rows("attend_values" + n + ".bias", values, a.values_bias, ag.values_bias);
    visitor.matrix("attend_scores" + n + ".weight", three, heads, a.scores, a.scores_back,
                   ag.scores);
    visitor.rows("attend_scores" + n + ".bias", heads, a.scores_bias, ag.scores_bias);
    visitor.matrix("attend_common" + n + ".weight", common, one, a.common, a.common_back,
                   ag.common);
    visitor.matrix("attend_output" + n + ".weight", one, one, a.output, a.output_back, ag.output);
  }
}
