#include "engine.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <stdexcept>

#include "coulomb.h"
#include "dispersion.h"
#include "gradients.h"
#include "packing.h"
#include "polarizability.h"
#include "repulsion.h"
#include "sharing.h"
#include "splitting.h"
#include "weights.h"

namespace {

constexpr int kMaxThreads = 1024;

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument("native engine: " + what);
}

void check_between(const char* name, int value, int least, int most) {
  if (value < least || value > most)
    refuse("`" + std::string(name) + "` must be from " + std::to_string(least) + " to " +
           std::to_string(most) + "; got " + std::to_string(value) + ".");
}

std::vector<Phase> phases_of(const Model& m, bool attends, bool back) {
  const int last = m.n_layers - 1;
  std::vector<Phase> found{{kEmbed, 0}};
  for (int l = 0; l <= last; ++l) {
    if (l > 0 && attends) found.insert(found.end(), {{kGather, l}, {kAttend, l}});
    found.push_back({kLayer, l});
    if (l == 0 && m.electrons) found.insert(found.end(), {{kShare, l}, {kTell, l}});
  }
  if (m.charges) found.insert(found.end(), {{kSettle, last}, {kFinish, last}});
  for (int l = last; back && l >= 0; --l) {
    if (l == 0 && m.electrons) found.insert(found.end(), {{kShareBack, l}, {kSayBack, l}});
    found.push_back({kLayerBack, l});
    if (l > 0 && attends) found.insert(found.end(), {{kGatherBack, l}, {kDescribeBack, l}});
  }
  return found;
}

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

namespace {

constexpr std::int64_t kSortFrom =
    512;  // atoms; larger structures are handled in spatial order, for the caches
constexpr double kCells = 1 << 20;  // to each side of the origin
constexpr double kSortCell = 4.0;   // Å
constexpr int kAtomsPerBlock = 14;  // rows of the widest register tile

struct Pair {  // inside the cutoff, in the internal order of the atoms
  int i, j;
  double vector[3], length;
  std::int64_t there, back;  // its two directed edges, owned by i and by j
};

std::uint64_t interleaved(const double* r) {  // Morton code of the cell of a point
  std::uint64_t code = 0;
  for (int a = 0; a < 3; ++a) {
    const double number = std::clamp(std::floor(r[a] / kSortCell), -kCells, kCells - 1);
    const auto cell = static_cast<std::uint64_t>(static_cast<std::int64_t>(number + kCells));
    for (int bit = 0; bit < 21; ++bit) code |= (cell >> bit & 1) << (3 * bit + a);
  }
  return code;
}

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

template <typename T>
class Engine : public AnyEngine {
 public:
  Engine(const Model& model, const Kernels<T>& kernels, const FarKernels& far, int n_threads)
      : model_(model),
        kernels_(kernels),
        far_(far),
        packed_(std::make_unique<Packed<T>>(model_, kernels.panel)),
        intervals_(model_),
        repulsion_(model_),
        pool_(n_threads) {
    n_kinds_ = model_.n_species;
    sizes_ = array_sizes(model_);
    reference_ = model_.at("reference");
    forget_packed();
  }

  void evaluate(const Structure& s, const Answer& answer) override {
    if (s.n_atoms == 0) return;
    check(s);
    order_atoms(s);
    make_blocks(s.n_atoms);
    make_edges(s);
    make_fields(s, answer.forces != nullptr, nullptr);
    add_dispersion(s);
    run();
    collect(s, answer, nullptr);
  }

  void set_array(const std::string& name, const double* data, std::int64_t size) override {
    const auto found = sizes_.find(name);
    if (found == sizes_.end()) refuse("array " + name + " is not known");
    if (static_cast<std::size_t>(size) != found->second)
      refuse("array " + name + " has " + std::to_string(size) + " numbers instead of " +
             std::to_string(found->second));
    model_.arrays[name].assign(data, data + size);
  }

  void pack() override {
    model_.check_arrays();
    packed_->pack();
    n_kinds_ = model_.n_species;
  }

  void clear_gradients(std::int64_t factor_rows) override {
    if (factor_rows < 1 || factor_rows > 1 << 30) refuse("`factor_rows` must be positive.");
    gradients_.clear();  // where memory is short, there are none
    while (stores_.size() < static_cast<std::size_t>(pool_.n_threads))
      stores_.push_back(
          std::make_unique<GradientStore<T>>(model_, packed_->weights.width, model_.n_layers));
    for (auto& store : stores_) store->clear(n_kinds_, factor_rows);
    for (auto& store : stores_) gradients_.push_back(store->gradients);
    to_widths_.assign(model_.n_species, 0.0);
    to_logarithms_.assign(model_.n_species, 0.0);
    to_costs_.assign(3 * model_.n_species, 0.0);
  }

  void add_gradients(const Structure& s, const Seeds& seeds, const Answer* answer) override {
    if (s.n_atoms == 0) return;
    if (gradients_.empty() || !stores_[0]->fits(n_kinds_, s.factor_atoms))
      refuse("clear the gradients first, for as many rows of factors and the species as they are");
    check(s);
    order_atoms(s);
    make_blocks(s.n_atoms);
    make_edges(s);
    make_fields(s, answer != nullptr, &seeds);
    if (answer) add_dispersion(s);
    run();
    if (answer) collect(s, *answer, seeds.energies);
  }

  void gradients(const Place& place) const override {
    if (gradients_.empty()) refuse("there are no gradients; clear them first");
    for (const auto& store : stores_) store->add_to(place);
    const auto add = [&place](const char* name, const std::vector<double>& found) {
      T* to = static_cast<T*>(place(name, static_cast<std::int64_t>(found.size())));
      for (std::size_t k = 0; k < found.size(); ++k) to[k] += T(found[k]);
    };
    if (model_.coulomb) add("coulomb.width", to_widths_);
    if (model_.shells) add("shell.charge", to_logarithms_);
    if (model_.costs) add("electron.cost", to_costs_);
  }

  void set_species(const double* table, std::int64_t n_kinds) override {
    packed_->set_species(table, n_kinds);
    n_kinds_ = n_kinds;
  }

  std::int64_t bytes() const override {
    std::size_t total = packed_->bytes() + fields_.bytes() + scratch_.bytes() + factors_.bytes() +
                        edges_.bytes() + geometry_.bytes();
    return static_cast<std::int64_t>(total + pairs_.capacity() * sizeof(Pair));
  }

 private:
  void check(const Structure& s) const {
    if (!finite(s.positions, 3 * s.n_atoms))
      throw std::invalid_argument(
          "`positions` must be finite; got a number that is not. Check the structure.");
    if (s.shifts && !finite(s.shifts, 3 * s.n_pairs)) refuse("`shifts` must be finite");
    if (s.factor_layers != model_.n_layers ||
        (s.factor_channels != 1 && s.factor_channels != model_.channels))
      refuse("`factors` must be (" + std::to_string(model_.n_layers) + ", atoms or 1, " +
             std::to_string(model_.channels) + " or 1); got (" + std::to_string(s.factor_layers) +
             ", " + std::to_string(s.factor_atoms) + ", " + std::to_string(s.factor_channels) +
             ").");
    for (std::int64_t n = 0; n < s.n_atoms; ++n)
      if (s.species[n] < 0 || s.species[n] >= model_.n_species || s.kinds[n] < 0 ||
          s.kinds[n] >= n_kinds_)
        refuse("species row out of range");
    check_far(s);
    for (std::int64_t p = 0; p < s.n_pairs; ++p)
      if (static_cast<std::uint64_t>(s.idx_i[p]) >= static_cast<std::uint64_t>(s.n_atoms) ||
          static_cast<std::uint64_t>(s.idx_j[p]) >= static_cast<std::uint64_t>(s.n_atoms))
        refuse("pair index out of range");
  }

  void check_far(const Structure& s) const {
    for (std::int64_t n = 0; s.systems && n < s.n_atoms; ++n)
      if (s.systems[n] < (n ? s.systems[n - 1] : 0) || s.systems[n] >= s.n_systems)
        refuse("`systems` must be in ascending order, below the number of lattices");
    if (s.lattices && !finite(s.lattices, 9 * s.n_systems)) refuse("`lattices` must be finite");
    const bool far = model_.coulomb || model_.references;
    for (std::int64_t k = 0; far && s.lattices && k < s.n_systems; ++k) {
      const Basis basis(s.lattices + 9 * k);
      basis.check();
      if (model_.coulomb) CoulombSum::check(basis);
    }
    if (s.fields && (!model_.charges || !finite(s.fields, 3 * std::max<std::int64_t>(
                                                                       s.n_systems, 1))))
      refuse("`fields` must be finite, and of charges");
    if (!model_.charges && !model_.electrons) return;
    if (!s.parts) refuse("charges add up over parts; say which");
    if (model_.electrons && !s.part_unpaired) refuse("unpaired electrons are shared out; say how many");
    for (std::int64_t n = 0; n < s.n_atoms; ++n)
      if (s.parts[n] < 0 || s.parts[n] >= s.n_parts) refuse("part out of range");
  }

  static bool finite(const double* numbers, std::int64_t n) {
    double total = 0;
    for (std::int64_t k = 0; k < n; ++k) total += numbers[k] - numbers[k];  // 0, or NaN
    return total == 0;
  }

  void order_atoms(const Structure& s) {
    const std::int64_t N = s.n_atoms;
    place_.resize(N);
    atom_.resize(N);
    for (std::int64_t n = 0; n < N; ++n) atom_[n] = static_cast<int>(n);
    if (N >= kSortFrom) {
      codes_.resize(N);
      for (std::int64_t n = 0; n < N; ++n) codes_[n] = interleaved(s.positions + 3 * n);
      std::sort(atom_.begin(), atom_.end(), [this](int a, int b) {
        return codes_[a] != codes_[b] ? codes_[a] < codes_[b] : a < b;
      });
    }
    for (std::int64_t n = 0; n < N; ++n) place_[atom_[n]] = static_cast<int>(n);
  }

  void make_blocks(std::int64_t N) {
    const std::int64_t threads = std::min<std::int64_t>(pool_.n_threads, N);
    std::int64_t blocks = (N + kAtomsPerBlock - 1) / kAtomsPerBlock;
    if (blocks < 4 * threads) blocks = (blocks + threads - 1) / threads * threads;
    block_start_.resize(blocks + 1);
    for (std::int64_t b = 0; b <= blocks; ++b) block_start_[b] = static_cast<int>(N * b / blocks);
    block_size_ = static_cast<int>((N + blocks - 1) / blocks);
  }

  void make_edges(const Structure& s) {
    const std::int64_t N = s.n_atoms;
    const double cutoff2 = model_.cutoff * model_.cutoff;
    row_start_.assign(N + 2, 0);
    pairs_.clear();
    repulsion_.start(N);
    for (std::int64_t p = 0; p < s.n_pairs; ++p) {
      const std::int64_t i = s.idx_i[p], j = s.idx_j[p];
      double v[3];
      for (int a = 0; a < 3; ++a)
        v[a] = s.positions[3 * j + a] - s.positions[3 * i + a] +
               (s.shifts ? s.shifts[3 * p + a] : 0.0);
      const double d2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
      if (model_.repulsion) repulsion_.add(i, j, s.species[i], s.species[j], v, std::sqrt(d2));
      if (!(d2 < cutoff2)) continue;
      pairs_.push_back({place_[i], place_[j], {v[0], v[1], v[2]}, std::sqrt(d2), 0, 0});
      ++row_start_[place_[i] + 2];
      ++row_start_[place_[j] + 2];
    }
    for (std::int64_t n = 2; n < N + 2; ++n) row_start_[n] += row_start_[n - 1];
    Edge<T>* edges = edges_.ensure(2 * pairs_.size() + 1);
    Geometry* geometry = geometry_.ensure(2 * pairs_.size() + 1);
    const std::int64_t W = packed_->weights.width;
    for (Pair& pair : pairs_) {
      pair.there = row_start_[pair.i + 1]++;
      pair.back = row_start_[pair.j + 1]++;
      const auto [interval, t, density] = intervals_.at(pair.length);
      const double inverse = pair.length > 0 ? 1 / pair.length : 0.0;
      const double x = pair.vector[0] * inverse, y = pair.vector[1] * inverse,
                   z = pair.vector[2] * inverse;
      constexpr double r = 1.4142135623730951, h = 0.40824829046386302;
      const double harmonics[8] = {r * x,     r * y,
                                   r * z,     r * x * y,
                                   r * y * z, h * (2 * z * z - x * x - y * y),
                                   r * x * z, (x * x - y * y) / r};
      for (int back = 0; back < 2; ++back) {
        const std::int64_t e = back ? pair.back : pair.there;
        const int from = back ? pair.i : pair.j;
        const double sign = back ? -1.0 : 1.0;
        Edge<T>& edge = edges[e];
        edge.node = 9LL * W * from;
        edge.entry = interval * kCoefficients * W;
        edge.species = 2 * W * s.kinds[atom_[from]];
        edge.t = T(t);
        edge.t2 = T(2 * t);
        edge.t3 = T(3 * t * t);
        for (int k = 0; k < 8; ++k)
          edge.harmonics[k] = T(k < 3 ? sign * harmonics[k] : harmonics[k]);
        geometry[e] = {{sign * x, sign * y, sign * z},
                       pair.length > 0 ? pair.length : 1.0,
                       density,
                       0,
                       {0, 0, 0}};
      }
    }
    // while filling, entry n + 1 advanced from the start of atom n to that of atom n + 1
  }

  void forget_packed() {
    for (auto& [name, array] : model_.arrays)
      if (name != "reference" && name.rfind("zbl", 0) != 0 && name.rfind("d3", 0) != 0 &&
          name.rfind("coulomb", 0) != 0 && name != "shell.charge" && name != "electron.cost")
        std::vector<double>().swap(array);
  }

  void make_fields(const Structure& s, bool to_positions, const Seeds* seeds) {
    const Weights<T>& w = packed_->weights;
    const std::int64_t N = s.n_atoms, one = N * w.width;
    const std::int64_t per_layer = 5 * 9 + 2;
    std::int64_t needed =
        (3 * 9 + 7 + per_layer * w.n_layers) * one + 2 * N * w.hidden + 3 * padded(N) +
        kVectors * padded(3 * N) + 2 * N * w.ends.outputs + padded(N) + padded(5 * N);
    if (w.electrons) needed += (9 + 3 + 4) * one + 3 * N * kPad + padded(N);
    context_.attends = order_members(s);
    const int attentive = context_.attends ? w.n_layers - 1 : 0;
    const std::int64_t M = static_cast<std::int64_t>(member_start_.size()) - 1;
    needed += attentive * (8 * one + padded(N) + N * (w.values + w.scores) +
                           M * (w.scores + 2 * w.common + w.width));
    T* next = fields_.ensure(needed);
    const auto take = [&next](std::int64_t n) {
      T* here = next;
      next += n;
      return here;
    };
    Context<T>& c = context_;
    c.w = &w;
    c.gradients = to_positions || seeds;
    c.to_positions = to_positions;
    c.n_blocks = static_cast<int>(block_start_.size()) - 1;
    c.block_size = block_size_;
    c.block_start = block_start_.data();
    c.row_start = row_start_.data();
    c.edges = edges_.get();
    c.geometry = geometry_.get();
    species_.resize(N);
    for (std::int64_t n = 0; n < N; ++n) species_[n] = 2LL * w.width * s.kinds[atom_[n]];
    c.species = species_.data();
    c.tensors = take(9 * one);
    c.mixed = take(9 * one);
    c.carried = take(9 * one);
    c.gates = take(3 * one);
    c.gate_slopes = take(3 * one);
    c.standardised = take(one);
    c.hidden_slopes = take(N * w.hidden);
    c.hidden_values = take(N * w.hidden);
    for (int l = 0; l < w.n_layers; ++l) {
      LayerFields<T>& f = c.layers[l];
      for (T** field : {&f.x, &f.y, &f.m, &f.c, &f.d}) *field = take(9 * one);
      f.x_scale = take(one);
      f.c_scale = take(one);
    }
    for (int l = 1; l <= attentive; ++l) {
      AttentionFields<T>& f = c.attention[l];
      f.standardised = take(3 * one);
      for (T** rows : {&f.own, &f.hidden, &f.slopes, &f.added, &f.to_hidden}) *rows = take(one);
      f.inverse_deviation = take(padded(N));
      f.values = take(N * w.values);
      f.scores = take(N * w.scores);
      f.exponents = take(M * w.scores);
      f.attended = take(M * w.common);
      f.to_attended = take(M * w.common);
      f.shared = take(M * w.width);
    }
    c.molecules = molecules_.data();
    c.member_start = member_start_.data();
    c.members = members_.data();
    c.n_molecules = static_cast<int>(M);
    c.shared_out = s.shared_out;
    c.inverse_deviation = take(padded(N));
    T* weights = take(padded(N));
    for (std::int64_t n = 0; seeds && n < N; ++n) weights[n] = T(seeds->energies[atom_[n]]);
    c.seeds = seeds ? weights : nullptr;
    c.training = seeds ? gradients_.data() : nullptr;
    energies_.resize(N);
    c.energies = energies_.data();
    hidden_.resize(model_.hands_out_hidden ? N * w.head : 0);
    c.hidden = model_.hands_out_hidden ? hidden_.data() : nullptr;
    settling_ = {&s, seeds ? *seeds : Seeds{}, take(padded(N)), take(N * w.ends.outputs), {},
                 take(padded(N)), take(padded(5 * N))};
    charges_.resize(w.charges ? N : 0);
    c.charges = charges_.data();
    c.to_charges = settling_.to_charges;
    c.ends = take(N * w.ends.outputs);
    c.to_ends = settling_.to_ends;
    for (int vector = 0; vector < kVectors; ++vector) {
      settling_.to_vectors[vector] = take(padded(3 * N));
      vectors_[vector].resize(w.vector_rows[vector] ? 3 * N : 0);
      c.vectors[vector] = vectors_[vector].data();
      c.to_vectors[vector] = settling_.to_vectors[vector];
    }
    means_.resize(w.tensor_row ? N : 0);
    tensors_.resize(w.tensor_row ? 5 * N : 0);
    c.root_means = means_.data();
    c.root_tensors = tensors_.data();
    const bool asked = w.tensor_row && (s.fields || settling_.seeds.roots);
    c.to_means = asked ? settling_.to_means : nullptr;
    c.to_tensors = asked ? settling_.to_tensors : nullptr;
    if (w.electrons) {
      ElectronFields<T>& f = c.electrons;
      f.x = take(9 * one);
      f.standardised = take(3 * one);
      f.inverse_deviation = take(padded(N));
      for (T** rows : {&f.hidden, &f.slopes, &f.known_hidden, &f.known_slopes}) *rows = take(one);
      for (T** rows : {&f.numbers, &f.to_numbers, &f.known}) *rows = take(N * kPad);
      to_known_.resize(2 * N);
      f.to_known = to_known_.data();
    }
    failure_ = nullptr;
    c.together = [](void* engine, Step step) {  // the pool knows of no exceptions
      Engine& self = *static_cast<Engine*>(engine);
      try {
        if (step == kShare)
          self.share();
        else if (step == kShareBack)
          self.share_back();
        else
          self.settle();
      } catch (...) {
        self.failure_ = std::current_exception();
      }
    };
    c.engine = this;
    c.atoms = atom_.data();
    far_energies_.assign(N, 0.0);
    far_gradients_.assign(3 * N, 0.0);
    std::fill_n(far_virial_, 9, 0.0);
    c.scratch_size = scratch_elements(w, block_size_);
    c.scratch = scratch_.ensure(c.scratch_size * pool_.n_threads);
    spread_factors(s);
  }

  // Call f(a system of the structure, its first atom)
  template <typename F>
  void each_system(const Structure& s, F f) const {
    for (std::int64_t first = 0, end; first < s.n_atoms; first = end) {
      for (end = first + 1; end < s.n_atoms && (!s.systems || s.systems[end] == s.systems[first]);)
        ++end;
      const std::int64_t number = s.systems ? s.systems[first] : 0;
      f(FarStructure{end - first, s.positions + 3 * first, s.species + first,
                     s.lattices ? s.lattices + 9 * number : nullptr},
        first);
    }
  }

  void add_dispersion(const Structure& s) {
    if (!model_.references) return;
    const DispersionTables tables{model_.references,      model_.at("d3.radius"),
                                  model_.at("d3.scale"),  model_.at("d3.coordination"),
                                  model_.at("d3.reference"), model_.at("d3.damping"),
                                  model_.n_species};
    each_system(s, [&](const FarStructure& part, std::int64_t first) {
      dispersion_.add(far_, tables, part, &far_energies_[first], &far_gradients_[3 * first],
                      far_virial_);
    });
  }

  // Share out charge and unpaired electrons, and tell the atoms. By one thread.
  void share() {
    const Structure& s = *settling_.structure;
    const std::int64_t N = s.n_atoms;
    const ElectronFields<T>& f = context_.electrons;
    numbers_.resize(Sharing::kNumbers * N);
    for (std::int64_t n = 0; n < N; ++n)
      for (int k = 0; k < Sharing::kNumbers; ++k)
        numbers_[Sharing::kNumbers * atom_[n] + k] = double(f.numbers[kPad * n + k]);
    sharing_.share(N, numbers_.data(), {s.parts, s.n_parts, s.part_charges, s.part_unpaired});
    std::fill_n(f.known, N * kPad, T(0));
    for (std::int64_t n = 0; n < N; ++n) {
      const std::int64_t atom = atom_[n];
      const double charge = sharing_.excess[atom], unpaired = sharing_.unpaired[atom];
      f.known[kPad * n] = T(charge);
      f.known[kPad * n + 1] = T(unpaired);
      double* to = &to_known_[2 * n];
      for (int k = 0; k < 2; ++k) to[k] = by_shared(2 + k, atom) / model_.scale;
      if (!model_.costs) continue;
      const double* cost = model_.at("electron.cost") + 3 * s.species[atom];
      const double seed = energy_seed(atom), amounts[3] = {charge, charge * charge, unpaired};
      for (int k = 0; k < 3; ++k) {
        far_energies_[atom] += cost[k] * amounts[k];
        if (settling_.seeds.energies) to_costs_[3 * s.species[atom] + k] += seed * amounts[k];
      }
      to[0] += seed * (cost[0] + 2 * cost[1] * charge);
      to[1] += seed * cost[2];
    }
  }

  // From what is asked of what they know to what is asked of what they say
  void share_back() {
    const std::int64_t N = settling_.structure->n_atoms;
    std::vector<double>*to_excess = &asked_[0], *to_unpaired = &asked_[1], *to_formal = &asked_[2],
                       *to_unrounded = &asked_[3];
    for (auto& asked : asked_) asked.resize(N);
    for (std::int64_t n = 0; n < N; ++n) {
      const std::int64_t atom = atom_[n];
      (*to_excess)[atom] = to_known_[2 * n];
      (*to_unpaired)[atom] = to_known_[2 * n + 1];
      (*to_formal)[atom] = by_shared(0, atom) / model_.scale;
      (*to_unrounded)[atom] = by_shared(1, atom) / model_.scale;
    }
    to_numbers_.resize(Sharing::kNumbers * N);
    sharing_.back(to_excess->data(), to_unpaired->data(), to_formal->data(), to_unrounded->data(),
                  to_numbers_.data());
    T* to = context_.electrons.to_numbers;
    std::fill_n(to, N * kPad, T(0));
    for (std::int64_t n = 0; n < N; ++n)
      for (int k = 0; k < Sharing::kNumbers; ++k)
        to[kPad * n + k] = T(to_numbers_[Sharing::kNumbers * atom_[n] + k]);
  }
  double by_shared(int row, std::int64_t atom) const {
    const double* seeds = settling_.seeds.shared;
    return seeds ? seeds[row * settling_.structure->n_atoms + atom] : 0.0;
  }
  // Of the energy of an atom in eV, in units of the network
  double energy_seed(std::int64_t atom) const {
    const double* seeds = settling_.seeds.energies;
    return (seeds ? seeds[atom] : 1.0) / model_.scale;
  }

  // Make the charges of each part add up, take their energy, and say what is asked of them as they
  // are read out. Called by one thread, between two phases.
  void settle() {
    const Structure& s = *settling_.structure;
    const Seeds& seeds = settling_.seeds;
    const std::int64_t N = s.n_atoms;
    if (model_.n_products) {
      own_charges_ = sharing_.excess;
      hand_over(s);
    } else {
      own_charges_.resize(N);
      for (std::int64_t n = 0; n < N; ++n) own_charges_[atom_[n]] = charges_[n];
      share_equally(s, own_charges_.data(), s.part_charges);
    }
    to_charges_.assign(N, 0.0);
    if (model_.shells) place_shells(s);
    if (model_.coulomb) {
      widths_.resize(model_.n_species);
      each_system(s, [&](const FarStructure& part, std::int64_t first) {
        std::fill(widths_.begin(), widths_.end(), 0.0);
        const bool shells = model_.shells;
        coulomb_.add(far_, model_.at("coulomb.width"), part,
                     {&own_charges_[first], shells ? &own_shells_[3 * first] : nullptr,
                      shells ? &electrons_[first] : nullptr},
                     {&far_energies_[first], &far_gradients_[3 * first], &to_charges_[first],
                      shells ? &to_shells_[3 * first] : nullptr,
                      shells ? &to_electrons_[first] : nullptr, far_virial_, widths_.data()});
        for (int z = 0; seeds.energies && z < model_.n_species; ++z)
          to_widths_[z] += energy_seed(first) * widths_[z];
      });
    }
    if (s.fields) respond(s);
    auto& asked = asked_[0];  // of charges, with all seeds
    asked.resize(N);
    for (std::int64_t n = 0; n < N; ++n)
      asked[n] = energy_seed(n) * to_charges_[n] +
                 (seeds.charges ? seeds.charges[n] / model_.scale : 0.0);
    if (model_.n_products)
      ask_ends(s);
    else
      share_equally(s, asked.data(), nullptr);
    for (std::int64_t n = 0; n < N; ++n) settling_.to_charges[n] = T(asked[atom_[n]]);
    if (model_.shells) ask_shells(s);
    T* to_dipoles = settling_.to_vectors[1];
    for (std::int64_t n = 0; model_.dipoles && n < 3 * N; ++n) {
      const std::int64_t atom = atom_[n / 3];
      to_dipoles[n] = T((seeds.dipoles ? seeds.dipoles[3 * atom + n % 3] / model_.scale : 0.0) -
                        (s.fields ? energy_seed(atom) * field_of(s, atom)[n % 3] : 0.0));
    }
    if (context_.to_means) ask_roots(s);
  }

  static const double* field_of(const Structure& s, std::int64_t atom) {
    return s.fields + 3 * (s.systems ? s.systems[atom] : 0);
  }

  // The energy of charges, dipoles and shells in a field, shared equally by the atoms, and its
  // gradients; that of dipoles is told where these are asked for
  void respond(const Structure& s) {
    each_system(s, [&](const FarStructure& part, std::int64_t first) {
      const double* field = field_of(s, first);
      double energy = 0;
      for (std::int64_t n = first; n < first + part.n_atoms; ++n) {
        const double* r = s.positions + 3 * n;
        for (int a = 0; a < 3; ++a) {
          energy -= own_charges_[n] * r[a] * field[a];
          to_charges_[n] -= r[a] * field[a];
          far_gradients_[3 * n + a] -= own_charges_[n] * field[a];
          if (model_.dipoles) {
            energy -= vectors_[1][3 * place_[n] + a] * field[a];
          } else if (model_.shells) {
            const double shell = own_shells_[3 * n + a];
            energy += electrons_[n] * shell * field[a];
            to_shells_[3 * n + a] += electrons_[n] * field[a];
            to_electrons_[n] += shell * field[a];
          }
        }
        double numbers[kRootNumbers], gradient[kRootNumbers];
        if (!model_.polarizable) continue;
        root_of(n, numbers);
        energy += induced_energy(numbers, field, gradient);
      }
      for (std::int64_t n = first; n < first + part.n_atoms; ++n)
        far_energies_[n] += energy / static_cast<double>(part.n_atoms);
    });
  }

  void root_of(std::int64_t atom, double* numbers) const {
    const std::int64_t n = place_[atom];
    numbers[0] = kInitialRoot + means_[n];
    std::copy_n(&tensors_[5 * n], 5, numbers + 1);
  }

  // What is asked of the roots of polarizabilities, by the field and by seeds
  void ask_roots(const Structure& s) {
    const double* seeds = settling_.seeds.roots;
    for (std::int64_t n = 0; n < s.n_atoms; ++n) {
      const std::int64_t atom = atom_[n];
      double numbers[kRootNumbers], by[kRootNumbers] = {};
      root_of(atom, numbers);
      if (s.fields) induced_energy(numbers, field_of(s, atom), by);
      for (int k = 0; k < kRootNumbers; ++k)
        by[k] = energy_seed(atom) * by[k] +
                (seeds ? seeds[kRootNumbers * atom + k] / model_.scale : 0.0);
      settling_.to_means[n] = T(by[0]);
      for (int k = 0; k < 5; ++k) settling_.to_tensors[5 * n + k] = T(by[1 + k]);
    }
  }

  // Charges that neighbours of one part hand to each other
  void hand_over(const Structure& s) {
    const Weights<T>& w = packed_->weights;
    const std::int64_t size = s.n_atoms * w.ends.outputs;
    ends_.assign(context_.ends, context_.ends + size);
    handed_.resize(pairs_.size());
    const Ends ends = ends_of();
    for (std::size_t p = 0; p < pairs_.size(); ++p) {
      const Pair& pair = pairs_[p];
      const int i = atom_[pair.i], j = atom_[pair.j];
      handed_[p] = s.parts[i] == s.parts[j] ? ends.product(pair.i, pair.j) : 0.0;
      const double handed = envelope_of(pair).value * handed_[p];
      own_charges_[i] += handed;
      own_charges_[j] -= handed;
    }
  }

  // And back: to the ends, to what each atom knows, and to the lengths of pairs
  void ask_ends(const Structure& s) {
    const auto& asked = asked_[0];
    const Ends ends = ends_of();
    to_ends_.assign(ends_.size(), 0.0);
    for (std::size_t p = 0; p < pairs_.size(); ++p) {
      const Pair& pair = pairs_[p];
      const int i = atom_[pair.i], j = atom_[pair.j];
      if (s.parts[i] != s.parts[j]) continue;
      const Envelope envelope = envelope_of(pair);
      ends.product_back(pair.i, pair.j, envelope.value * (asked[i] - asked[j]), to_ends_.data());
      const double along = envelope.slope * handed_[p] * (to_charges_[i] - to_charges_[j]);
      for (int a = 0; pair.length > 0 && a < 3; ++a) {
        const double g = along * pair.vector[a] / pair.length;
        far_gradients_[3 * j + a] += g;
        far_gradients_[3 * i + a] -= g;
        for (int b = 0; b < 3; ++b) far_virial_[3 * a + b] += g * pair.vector[b];
      }
    }
    for (std::size_t k = 0; k < to_ends_.size(); ++k) settling_.to_ends[k] = T(to_ends_[k]);
    for (std::int64_t n = 0; n < s.n_atoms; ++n) to_known_[2 * n] += asked[atom_[n]];
  }
  Ends ends_of() const {
    return {ends_.data(), packed_->weights.ends.outputs, padded(model_.n_products),
            model_.n_products};
  }
  Envelope envelope_of(const Pair& pair) const {
    return Envelope::at(pair.length, model_.cutoff, model_.polynomial);
  }

  // From what displaces the shells to where they are, and their electrons
  void place_shells(const Structure& s) {
    const std::int64_t N = s.n_atoms;
    own_shells_.resize(3 * N);
    electrons_.resize(N);
    to_shells_.assign(3 * N, 0.0);
    to_electrons_.assign(N, 0.0);
    for (std::int64_t n = 0; n < N; ++n) {
      const double *raw = &vectors_[0][3 * n], scale = clip(raw);
      const std::int64_t atom = atom_[n];
      for (int a = 0; a < 3; ++a) own_shells_[3 * atom + a] = scale * raw[a];
      electrons_[atom] = std::exp(model_.at("shell.charge")[s.species[atom]]);
    }
  }

  // And back, once the gradient by these is known
  void ask_shells(const Structure& s) {
    const Seeds& seeds = settling_.seeds;
    const double most2 = model_.max_displacement * model_.max_displacement;
    for (std::int64_t n = 0; n < s.n_atoms; ++n) {
      const std::int64_t atom = atom_[n];
      const double *raw = &vectors_[0][3 * n], scale = clip(raw), seed = energy_seed(atom);
      double by[3], along = 0;
      for (int a = 0; a < 3; ++a) {
        by[a] = seed * to_shells_[3 * atom + a] +
                (seeds.shells ? seeds.shells[3 * atom + a] / model_.scale : 0.0);
        along += by[a] * raw[a];
      }
      for (int a = 0; a < 3; ++a)
        settling_.to_vectors[0][3 * n + a] =
            T(scale * (by[a] - scale * scale * along / most2 * raw[a]));
      if (seeds.energies)
        to_logarithms_[s.species[atom]] +=
            (seed * to_electrons_[atom] +
             (seeds.electrons ? seeds.electrons[atom] / model_.scale : 0.0)) *
            electrons_[atom];
    }
  }
  double clip(const double* x) const {
    const double squared = x[0] * x[0] + x[1] * x[1] + x[2] * x[2];
    return 1 / std::sqrt(1 + squared / (model_.max_displacement * model_.max_displacement));
  }

  // Shift numbers of the atoms of each part by the same amount, so that they add up to totals, or
  // to nothing
  void share_equally(const Structure& s, double* numbers, const double* totals) {
    shifts_.assign(s.n_parts, 0.0);
    counts_.assign(s.n_parts, 0);
    for (std::int64_t n = 0; n < s.n_atoms; ++n) {
      shifts_[s.parts[n]] -= numbers[n];
      ++counts_[s.parts[n]];
    }
    for (std::int64_t f = 0; f < s.n_parts; ++f)
      if (counts_[f]) shifts_[f] = (shifts_[f] + (totals ? totals[f] : 0.0)) / counts_[f];
    for (std::int64_t n = 0; n < s.n_atoms; ++n) numbers[n] += shifts_[s.parts[n]];
  }

  // Which atoms attend to each other, in the internal order; whether any do
  bool order_members(const Structure& s) {
    member_start_.assign(1, 0);
    if (packed_->weights.n_heads == 0) return false;
    if (!s.molecules) refuse("atoms attend to each other; say which");
    molecules_.resize(s.n_atoms);
    members_.resize(s.n_atoms);
    member_start_.resize(s.n_molecules + 1, 0);
    for (std::int64_t n = 0; n < s.n_atoms; ++n) {
      const std::int64_t molecule = s.molecules[atom_[n]];
      if (molecule < 0 || molecule >= s.n_molecules) refuse("molecule out of range");
      molecules_[n] = s.shared_out[molecule] > 0 ? molecule : -1;
      if (molecules_[n] >= 0) ++member_start_[molecule + 1];
    }
    for (std::int64_t m = 0; m < s.n_molecules; ++m) member_start_[m + 1] += member_start_[m];
    std::vector<std::int64_t> next(member_start_);
    for (std::int64_t n = 0; n < s.n_atoms; ++n)
      if (molecules_[n] >= 0) members_[next[molecules_[n]]++] = static_cast<int>(n);
    return member_start_.back() > 0;
  }

  // Rows of the padded width: one per layer, or one per layer and atom in the internal order.
  void spread_factors(const Structure& s) {
    const Weights<T>& w = packed_->weights;
    const std::int64_t given = s.factor_atoms, rows = w.electrons ? s.n_atoms : given;
    context_.given_stride = given > 1 ? w.width : 0;
    T* out = factors_.ensure(w.n_layers * rows * w.width);
    for (int l = 0; l < w.n_layers; ++l) {
      context_.layers[l].factor = out + l * rows * w.width;
      context_.layers[l].factor_stride = rows > 1 ? w.width : 0;
      for (std::int64_t n = 0; n < rows; ++n) {
        const double* from =
            s.factors + (l * given + (given > 1 ? atom_[n] : 0)) * s.factor_channels;
        T* to = out + (l * rows + n) * w.width;
        for (int c = 0; c < w.width; ++c)
          to[c] = T(s.factor_channels > 1 ? (c < w.channels ? from[c] : 1.0) : from[0]);
      }
    }
  }

  void run() {
    struct Job {
      const Context<T>* context;
      void (*run)(const Context<T>&, int, int, int);
    } job{&context_, kernels_.run};
    const std::vector<Phase> phases = phases_of(model_, context_.attends, context_.gradients);
    context_.phases = phases.data();
    pool_.run(
        static_cast<int>(phases.size()), context_.n_blocks,
        [](const void* p, int phase, int block, int thread) {
          const Job& j = *static_cast<const Job*>(p);
          j.run(*j.context, phase, block, thread);
        },
        &job, context_.training ? 1 : pool_.n_threads);
    if (failure_) std::rethrow_exception(failure_);
  }

  void collect(const Structure& s, const Answer& answer, const double* seeds) {
    const double share = model_.offset / static_cast<double>(s.n_atoms);
    for (std::int64_t n = 0; n < s.n_atoms; ++n)
      answer.energies[n] = model_.scale * energies_[place_[n]] + reference_[s.species[n]] + share +
                           repulsion_.energy(n) + far_energies_[n];
    for (std::int64_t n = 0; answer.charges && n < s.n_atoms; ++n)
      answer.charges[n] = own_charges_[n];
    if (answer.shells) {
      std::copy_n(own_shells_.begin(), 3 * s.n_atoms, answer.shells);
      std::copy_n(electrons_.begin(), s.n_atoms, answer.electrons);
    }
    double* to = answer.shared;
    for (const auto* row :
         {&sharing_.formal, &sharing_.unrounded, &sharing_.excess, &sharing_.unpaired})
      if (to) to = std::copy_n(row->begin(), s.n_atoms, to);
    for (std::int64_t n = 0; answer.dipoles && n < s.n_atoms; ++n)
      std::copy_n(&vectors_[1][3 * place_[n]], 3, answer.dipoles + 3 * n);
    for (std::int64_t n = 0; answer.roots && n < s.n_atoms; ++n)
      root_of(n, answer.roots + kRootNumbers * n);
    for (std::int64_t n = 0; answer.hidden && n < s.n_atoms; ++n)
      std::copy_n(&hidden_[packed_->weights.head * place_[n]], model_.head,
                  answer.hidden + model_.head * n);
    if (!answer.forces) return;
    for (std::int64_t k = 0; k < 3 * s.n_atoms; ++k)
      answer.forces[k] = repulsion_.force(k) - far_gradients_[k];
    for (int k = 0; k < 9; ++k) answer.virial[k] = repulsion_.virial(k) + far_virial_[k];
    for (const Pair& pair : pairs_) {
      const Geometry &there = geometry_.get()[pair.there], &back = geometry_.get()[pair.back];
      const std::int64_t i = 3LL * atom_[pair.i], j = 3LL * atom_[pair.j];
      const double scale = model_.scale / (seeds ? seeds[atom_[pair.i]] : 1.0);
      for (int a = 0; a < 3; ++a) {
        const double g = scale * (there.gradient[a] - back.gradient[a]);  // dE/dr_ij
        answer.forces[i + a] += g;
        answer.forces[j + a] -= g;
        for (int b = 0; b < 3; ++b) answer.virial[3 * a + b] += g * pair.vector[b];
      }
    }
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < a; ++b)
        answer.virial[3 * a + b] = answer.virial[3 * b + a] =
            0.5 * (answer.virial[3 * a + b] + answer.virial[3 * b + a]);
  }

  Model model_;
  const Kernels<T>& kernels_;
  const FarKernels& far_;
  std::unique_ptr<Packed<T>> packed_;
  std::vector<std::unique_ptr<GradientStore<T>>> stores_;  // of each thread
  std::vector<Gradients<T>> gradients_;                    // where they lie
  Intervals intervals_;
  Repulsion repulsion_;
  Pool pool_;
  const double* reference_;
  std::map<std::string, std::size_t> sizes_;  // of the arrays of the Model
  std::int64_t n_kinds_ = 0;
  Context<T> context_{};
  int block_size_ = 1;
  std::vector<int> place_, atom_, block_start_, members_;
  std::vector<std::uint64_t> codes_;
  std::vector<std::int64_t> row_start_, species_, molecules_, member_start_;
  std::vector<double> energies_, hidden_;
  std::vector<Pair> pairs_;
  Buffer<Edge<T>> edges_;
  Buffer<Geometry> geometry_;
  Buffer<T> fields_, scratch_, factors_;

  struct Settling {  // of the evaluation at hand
    const Structure* structure;
    Seeds seeds;
    T *to_charges, *to_ends, *to_vectors[kVectors], *to_means, *to_tensors;
  } settling_{};
  std::exception_ptr failure_;
  DispersionSum dispersion_;
  CoulombSum coulomb_;
  Sharing sharing_;
  std::vector<double> numbers_, to_numbers_, to_known_, to_costs_, asked_[4], ends_, to_ends_,
      handed_;
  std::vector<double> means_, tensors_, vectors_[kVectors], own_shells_, electrons_, to_shells_, to_electrons_,
      to_logarithms_;
  std::vector<double> charges_, own_charges_, to_charges_, widths_, to_widths_, shifts_,
      far_energies_, far_gradients_;
  std::vector<std::int64_t> counts_;
  double far_virial_[9] = {};
};

}  // namespace

std::string best_instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "baseline";
}

namespace {

void check_instruction_set(const std::string& isa) {
  const std::string best = best_instruction_set();
  if (isa != "baseline" && isa != best && !(isa == "avx2" && best == "avx512"))
    throw std::invalid_argument("`instruction_set` must be one that this processor has, at most " +
                                best + "; got " + isa + ".");
}

}  // namespace

const FarKernels& far_kernels(const std::string& instruction_set) {
  const std::string isa = instruction_set.empty() ? best_instruction_set() : instruction_set;
  check_instruction_set(isa);
  return isa == "avx512" ? avx512::far : isa == "avx2" ? avx2::far : baseline::far;
}

std::unique_ptr<AnyEngine> make_engine(const Model& model, bool double_precision, int n_threads,
                                       const std::string& isa) {
  model.check_arrays();
  check_between("n_threads", n_threads, 1, kMaxThreads);
  check_instruction_set(isa);
  const bool wide = isa == "avx512", middle = isa == "avx2";
  if (double_precision)
    return std::make_unique<Engine<double>>(model,
                                            wide     ? avx512::f64
                                            : middle ? avx2::f64
                                                     : baseline::f64,
                                            far_kernels(isa), n_threads);
  return std::make_unique<Engine<float>>(model,
                                         wide     ? avx512::f32
                                         : middle ? avx2::f32
                                                  : baseline::f32,
                                         far_kernels(isa), n_threads);
}
