// What a Model must be: its numbers, and the arrays that follow from them.
#include <cmath>
#include <cstdint>

#include "dispersion.h"
#include "engine.h"
#include "phases.h"
#include "refuse.h"
#include "weights.h"

namespace {

struct Sizes {  // for `visit_weights`: of the arrays as they are handed in
  std::map<std::string, std::size_t> found;
  std::size_t of_table, square;

  using M = Matrix<float>;
  void rows(const std::string& name, Axis axis, const float*&, float*&) {
    found[name] = axis.size();
  }
  void scalar(const std::string& name, float&, float*&) { found[name] = 1; }
  void matrix(const std::string& name, Axis inputs, Axis outputs, M&, M&, float*&) {
    found[name] = static_cast<std::size_t>(inputs.size()) * outputs.size();
  }
  void mixing(const std::string& name, M*, M*, float**) { found[name] = 3 * square; }
  void table(const std::string& name, const float*&, float*&) { found[name] = of_table; }
};

}  // namespace

void Model::check_sizes() const {
  check_between("channels", channels, 1, 4096);
  check_between("n_layers", n_layers, 1, kMaxLayers);
  check_between("n_species", n_species, 1, 1000);
  check_between("n_intervals", n_intervals, 1, 1 << 24);
  check_between("head", head, 1, 4096);
  check_between("n_heads", n_heads, 0, 1024);
  check_between("n_values", n_values, n_heads > 0 ? 1 : 0, 1024);
  if (phases_of(*this, n_heads > 0, true).size() > kMaxPhases)
    refuse("`n_layers` must be at most 8 where there is attention between them.");
  if (charges && 2 * padded(head) > 3 * padded(channels))
    refuse("`head` must be at most as large as `channels` where there are charges.");
  check_between("references", references, 0, kMostReferences);
  if (coulomb && !charges) refuse("there is no Coulomb energy without charges.");
  if ((shells || dipoles || n_products || polarizable) && !charges)
    refuse("there are no shells, dipoles, polarizabilities or split charges without charges.");
  if ((costs || n_products) && !electrons)
    refuse("there are no costs or split charges without electrons that are shared out.");
  check_between("n_products", n_products, 0, 1024);
  if (shells && !(max_displacement > 0)) refuse("`max_displacement` must be positive.");
  if (!(std::isfinite(cutoff) && cutoff > 0)) refuse("`cutoff` must be positive.");
  if (!(std::isfinite(scale) && std::isfinite(offset)))
    refuse("`scale` and `offset` must be finite.");
  std::int64_t total = 0;
  for (int count : cells) {
    check_between("cells", count, 1, n_intervals);
    total += count;
  }
  if (!cells.empty() && total != n_intervals) refuse("`cells` must add up to `n_intervals`.");
  if (!(std::isfinite(crowding) && crowding >= 0 && (crowding > 0 || !cells.empty())))
    refuse("`crowding` must be positive, or 0 where there are cells.");
}

std::map<std::string, std::size_t> array_sizes(const Model& m) {
  m.check_sizes();
  const std::size_t C = m.channels, n = m.n_intervals;
  Sizes sizes{{}, (m.cells.empty() ? (n + 1) * 2 : n * 4) * 3 * C, C * C};
  Weights<float> weights{};
  Gradients<float> gradients{};
  visit_weights(m, weights, gradients, sizes);
  sizes.found["species"] = 2 * C * m.n_species;
  sizes.found["reference"] = m.n_species;
  for (const char* name : {"zbl.number", "zbl.power", "zbl.radius"})
    if (m.repulsion) sizes.found[name] = m.n_species;
  if (m.coulomb) sizes.found["coulomb.width"] = m.n_species;
  if (m.shells) sizes.found["shell.charge"] = m.n_species;
  if (m.costs) sizes.found["electron.cost"] = 3 * m.n_species;
  if (m.references) {
    const std::size_t Z = m.n_species, A = m.references;
    sizes.found["d3.radius"] = sizes.found["d3.scale"] = Z;
    sizes.found["d3.coordination"] = Z * A;
    sizes.found["d3.reference"] = Z * Z * A * A;
    sizes.found["d3.damping"] = 7;
  }
  return sizes.found;
}

void Model::check_arrays() const {
  const auto sizes = array_sizes(*this);
  for (const auto& [name, size] : sizes) {
    const auto found = arrays.find(name);
    if (found == arrays.end()) refuse("array " + name + " is missing");
    if (found->second.size() != size)
      refuse("array " + name + " has " + std::to_string(found->second.size()) +
             " numbers instead of " + std::to_string(size));
  }
  for (const auto& [name, array] : arrays)
    if (!sizes.count(name)) refuse("array " + name + " is not known");
}
