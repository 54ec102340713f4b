#include "engine.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>

#include "gradients.h"
#include "packing.h"
#include "repulsion.h"

const double* Model::at(const std::string& name, std::size_t size) const {
  const auto found = arrays.find(name);
  if (found == arrays.end()) throw std::invalid_argument("native engine: array " + name + " is missing");
  if (found->second.size() != size)
    throw std::invalid_argument("native engine: array " + name + " has " + std::to_string(found->second.size()) + " numbers instead of " +
                                std::to_string(size));
  return found->second.data();
}

namespace {

constexpr long kSortFrom = 512;       // atoms; larger structures are handled in spatial order, for the caches
constexpr double kSortCell = 4.0;     // Å
constexpr int kAtomsPerBlock = 14;    // rows of the widest register tile

struct Pair {  // inside the cutoff, in the internal order of the atoms
  int i, j;
  double vector[3], length;
  long there, back;  // its two directed edges, owned by i and by j
};

std::uint64_t interleaved(const double* r) {  // Morton code of the cell of a point
  std::uint64_t code = 0;
  for (int a = 0; a < 3; ++a) {
    const auto cell = static_cast<std::uint64_t>(static_cast<std::int64_t>(std::floor(r[a] / kSortCell)) + (1 << 20)) & 0x1fffff;
    for (int bit = 0; bit < 21; ++bit) code |= (cell >> bit & 1) << (3 * bit + a);
  }
  return code;
}

class Intervals {  // of the tables: which one a length lies in
 public:
  struct Place {
    long interval;
    double t, density;  // position in the interval, 0 to 1; intervals per Å
  };

  explicit Intervals(const Model& model)
      : cells_(model.cells), n_intervals_(model.n_intervals), crowding_(model.crowding), scale_(cells_.empty() ? n_intervals_ / std::log1p(crowding_ * model.cutoff) : cells_.size() / model.cutoff) {
    first_.reserve(cells_.size());
    long first = 0;
    for (int count : cells_) {
      first_.push_back(first);
      first += count;
    }
  }

  Place at(double length) const {
    if (cells_.empty()) return within(0, n_intervals_, scale_ * std::log1p(crowding_ * length), scale_ * crowding_ / (1 + crowding_ * length));
    const double place = scale_ * length;
    const std::size_t cell = std::min(static_cast<std::size_t>(place), cells_.size() - 1);
    return within(first_[cell], cells_[cell], (place - static_cast<double>(cell)) * cells_[cell], scale_ * cells_[cell]);
  }

 private:
  static Place within(long first, long count, double number, double density) {
    const long interval = std::min<long>(static_cast<long>(number), count - 1);
    return {first + interval, number - static_cast<double>(interval), density};
  }

  std::vector<int> cells_;
  std::vector<long> first_;
  long n_intervals_;
  double crowding_, scale_;
};

template <typename T>
class Engine : public AnyEngine {
 public:
  Engine(const Model& model, const Kernels<T>& kernels, int n_threads)
      : model_(model), kernels_(kernels), packed_(std::make_unique<Packed<T>>(model_, kernels.panel)), intervals_(model_), repulsion_(model_), pool_(n_threads) {
    n_kinds_ = model_.n_species;
    reference_ = model_.at("reference", model_.n_species);
    forget_packed();
  }

  void evaluate(const Structure& s, const Answer& answer) override {
    if (s.n_atoms == 0) return;
    check(s);
    order_atoms(s);
    make_blocks(s.n_atoms);
    make_edges(s);
    make_fields(s, answer.forces != nullptr, nullptr);
    run();
    collect(s, answer, nullptr);
  }

  void set_array(const std::string& name, const double* data, long size) override { model_.arrays[name].assign(data, data + size); }

  void pack() override {
    packed_->pack();
    n_kinds_ = model_.n_species;
  }

  void clear_gradients(long factor_rows) override {
    while (stores_.size() < static_cast<std::size_t>(pool_.n_threads))
      stores_.push_back(std::make_unique<GradientStore<T>>(model_, packed_->weights.width, model_.n_layers));
    gradients_.clear();
    for (auto& store : stores_) {
      store->clear(n_kinds_, factor_rows);
      gradients_.push_back(store->gradients);
    }
  }

  void add_gradients(const Structure& s, const double* seeds, const Answer* answer) override {
    if (s.n_atoms == 0) return;
    if (stores_.empty() || s.factor_atoms != stores_[0]->factor_rows()) throw std::invalid_argument("native engine: clear the gradients first, for as many rows of factors");
    check(s);
    order_atoms(s);
    make_blocks(s.n_atoms);
    make_edges(s);
    make_fields(s, answer != nullptr, seeds);
    run();
    if (answer) collect(s, *answer, seeds);
  }

  void gradients(const Place& place) const override {
    if (stores_.empty()) throw std::invalid_argument("native engine: there are no gradients; clear them first");
    for (const auto& store : stores_) store->add_to(place);
  }

  void set_species(const double* table, long n_kinds) override {
    packed_->set_species(table, n_kinds);
    n_kinds_ = n_kinds;
  }

  long bytes() const override {
    std::size_t total = packed_->bytes() + fields_.bytes() + scratch_.bytes() + factors_.bytes() + edges_.bytes() + geometry_.bytes();
    return static_cast<long>(total + pairs_.capacity() * sizeof(Pair));
  }

 private:
  void check(const Structure& s) const {
    double total = 0;
    for (long k = 0; k < 3 * s.n_atoms; ++k) total += s.positions[k] - s.positions[k];  // 0, or NaN
    if (!(total == 0)) throw std::invalid_argument("`positions` must be finite; got a number that is not. Check the structure.");
    for (long n = 0; n < s.n_atoms; ++n)
      if (s.species[n] < 0 || s.species[n] >= model_.n_species || s.kinds[n] < 0 || s.kinds[n] >= n_kinds_)
        throw std::invalid_argument("native engine: species row out of range");
    for (long p = 0; p < s.n_pairs; ++p)
      if (static_cast<unsigned long>(s.idx_i[p]) >= static_cast<unsigned long>(s.n_atoms) ||
          static_cast<unsigned long>(s.idx_j[p]) >= static_cast<unsigned long>(s.n_atoms))
        throw std::invalid_argument("native engine: pair index out of range");
  }

  void order_atoms(const Structure& s) {
    const long N = s.n_atoms;
    place_.resize(N);
    atom_.resize(N);
    for (long n = 0; n < N; ++n) atom_[n] = static_cast<int>(n);
    if (N >= kSortFrom) {
      codes_.resize(N);
      for (long n = 0; n < N; ++n) codes_[n] = interleaved(s.positions + 3 * n);
      std::sort(atom_.begin(), atom_.end(), [this](int a, int b) { return codes_[a] != codes_[b] ? codes_[a] < codes_[b] : a < b; });
    }
    for (long n = 0; n < N; ++n) place_[atom_[n]] = static_cast<int>(n);
  }

  void make_blocks(long N) {
    const long threads = std::min<long>(pool_.n_threads, N);
    long blocks = (N + kAtomsPerBlock - 1) / kAtomsPerBlock;
    if (blocks < 4 * threads) blocks = (blocks + threads - 1) / threads * threads;
    block_start_.resize(blocks + 1);
    for (long b = 0; b <= blocks; ++b) block_start_[b] = static_cast<int>(N * b / blocks);
    block_size_ = static_cast<int>((N + blocks - 1) / blocks);
  }

  void make_edges(const Structure& s) {
    const long N = s.n_atoms;
    const double cutoff2 = model_.cutoff * model_.cutoff;
    row_start_.assign(N + 2, 0);
    pairs_.clear();
    repulsion_.start(N);
    for (long p = 0; p < s.n_pairs; ++p) {
      const long i = s.idx_i[p], j = s.idx_j[p];
      double v[3];
      for (int a = 0; a < 3; ++a) v[a] = s.positions[3 * j + a] - s.positions[3 * i + a] + (s.shifts ? s.shifts[3 * p + a] : 0.0);
      const double d2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
      if (model_.repulsion) repulsion_.add(i, j, s.species[i], s.species[j], v, std::sqrt(d2));
      if (!(d2 < cutoff2)) continue;
      pairs_.push_back({place_[i], place_[j], {v[0], v[1], v[2]}, std::sqrt(d2), 0, 0});
      ++row_start_[place_[i] + 2];
      ++row_start_[place_[j] + 2];
    }
    for (long n = 2; n < N + 2; ++n) row_start_[n] += row_start_[n - 1];
    Edge<T>* edges = edges_.ensure(2 * pairs_.size() + 1);
    Geometry* geometry = geometry_.ensure(2 * pairs_.size() + 1);
    const long W = packed_->weights.width;
    for (Pair& pair : pairs_) {
      pair.there = row_start_[pair.i + 1]++;
      pair.back = row_start_[pair.j + 1]++;
      const auto [interval, t, density] = intervals_.at(pair.length);
      const double inverse = pair.length > 0 ? 1 / pair.length : 0.0;
      const double x = pair.vector[0] * inverse, y = pair.vector[1] * inverse, z = pair.vector[2] * inverse;
      constexpr double r = 1.4142135623730951, h = 0.40824829046386302;
      const double harmonics[8] = {r * x, r * y, r * z, r * x * y, r * y * z, h * (2 * z * z - x * x - y * y), r * x * z, (x * x - y * y) / r};
      for (int back = 0; back < 2; ++back) {
        const long e = back ? pair.back : pair.there;
        const int from = back ? pair.i : pair.j;
        const double sign = back ? -1.0 : 1.0;
        Edge<T>& edge = edges[e];
        edge.node = 9L * W * from;
        edge.entry = interval * kCoefficients * W;
        edge.species = 2 * W * s.kinds[atom_[from]];
        edge.t = T(t);
        edge.t2 = T(2 * t);
        edge.t3 = T(3 * t * t);
        for (int k = 0; k < 8; ++k) edge.harmonics[k] = T(k < 3 ? sign * harmonics[k] : harmonics[k]);
        geometry[e] = {{sign * x, sign * y, sign * z}, pair.length > 0 ? pair.length : 1.0, density, 0, {0, 0, 0}};
      }
    }
    // while filling, entry n + 1 advanced from the start of atom n to that of atom n + 1
  }

  void forget_packed() {
    for (auto& [name, array] : model_.arrays)
      if (name != "reference" && name.rfind("zbl", 0) != 0) std::vector<double>().swap(array);
  }

  void make_fields(const Structure& s, bool to_positions, const double* seeds) {
    const Weights<T>& w = packed_->weights;
    const long N = s.n_atoms, one = N * w.width;
    const long per_layer = 5 * 9 + 2;
    long needed = (3 * 9 + 7 + per_layer * w.n_layers) * one + 2 * N * w.hidden + 2 * padded(N);
    context_.attends = order_members(s);
    const int attentive = context_.attends ? w.n_layers - 1 : 0;
    const long M = static_cast<long>(member_start_.size()) - 1;
    needed += attentive * (8 * one + padded(N) + N * (w.values + w.scores) + M * (w.scores + 2 * w.common + w.width));
    T* next = fields_.ensure(needed);
    const auto take = [&next](long n) {
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
    for (long n = 0; n < N; ++n) species_[n] = 2L * w.width * s.kinds[atom_[n]];
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
    for (long n = 0; seeds && n < N; ++n) weights[n] = T(seeds[atom_[n]]);
    c.seeds = seeds ? weights : nullptr;
    c.training = seeds ? gradients_.data() : nullptr;
    energies_.resize(N);
    c.energies = energies_.data();
    c.scratch_size = scratch_elements(w, block_size_);
    c.scratch = scratch_.ensure(c.scratch_size * pool_.n_threads);
    spread_factors(s);
  }

  // Which atoms attend to each other, in the internal order; whether any do
  bool order_members(const Structure& s) {
    member_start_.assign(1, 0);
    if (packed_->weights.n_heads == 0) return false;
    if (!s.molecules) throw std::invalid_argument("native engine: atoms attend to each other; say which");
    molecules_.resize(s.n_atoms);
    members_.resize(s.n_atoms);
    member_start_.resize(s.n_molecules + 1, 0);
    for (long n = 0; n < s.n_atoms; ++n) {
      const long molecule = s.molecules[atom_[n]];
      if (molecule < 0 || molecule >= s.n_molecules) throw std::invalid_argument("native engine: molecule out of range");
      molecules_[n] = s.shared_out[molecule] > 0 ? molecule : -1;
      if (molecules_[n] >= 0) ++member_start_[molecule + 1];
    }
    for (long m = 0; m < s.n_molecules; ++m) member_start_[m + 1] += member_start_[m];
    std::vector<long> next(member_start_);
    for (long n = 0; n < s.n_atoms; ++n)
      if (molecules_[n] >= 0) members_[next[molecules_[n]]++] = static_cast<int>(n);
    return member_start_.back() > 0;
  }

  // Rows of the padded width: one per layer, or one per layer and atom in the internal order.
  void spread_factors(const Structure& s) {
    const Weights<T>& w = packed_->weights;
    const long rows = s.factor_atoms;
    T* out = factors_.ensure(w.n_layers * rows * w.width);
    for (int l = 0; l < w.n_layers; ++l) {
      context_.layers[l].factor = out + l * rows * w.width;
      context_.layers[l].factor_stride = rows > 1 ? w.width : 0;
      for (long n = 0; n < rows; ++n) {
        const double* from = s.factors + (l * rows + (rows > 1 ? atom_[n] : 0)) * s.factor_channels;
        T* to = out + (l * rows + n) * w.width;
        for (int c = 0; c < w.width; ++c) to[c] = T(s.factor_channels > 1 ? (c < w.channels ? from[c] : 1.0) : from[0]);
      }
    }
  }

  void run() {
    struct Job {
      const Context<T>* context;
      void (*run)(const Context<T>&, int, int, int);
    } job{&context_, kernels_.run};
    const int between = context_.attends ? 2 * (model_.n_layers - 1) : 0;
    const int phases = 1 + (model_.n_layers + between) * (context_.gradients ? 2 : 1);
    pool_.run(
        phases, context_.n_blocks,
        [](const void* p, int phase, int block, int thread) {
          const Job& j = *static_cast<const Job*>(p);
          j.run(*j.context, phase, block, thread);
        },
        &job, context_.training ? 1 : pool_.n_threads);
  }

  void collect(const Structure& s, const Answer& answer, const double* seeds) {
    const double share = model_.offset / static_cast<double>(s.n_atoms);
    for (long n = 0; n < s.n_atoms; ++n)
      answer.energies[n] = model_.scale * energies_[place_[n]] + reference_[s.species[n]] + share + repulsion_.energy(n);
    if (!answer.forces) return;
    for (long k = 0; k < 3 * s.n_atoms; ++k) answer.forces[k] = repulsion_.force(k);
    for (int k = 0; k < 9; ++k) answer.virial[k] = repulsion_.virial(k);
    for (const Pair& pair : pairs_) {
      const Geometry &there = geometry_.get()[pair.there], &back = geometry_.get()[pair.back];
      const long i = 3L * atom_[pair.i], j = 3L * atom_[pair.j];
      const double scale = model_.scale / (seeds ? seeds[atom_[pair.i]] : 1.0);
      for (int a = 0; a < 3; ++a) {
        const double g = scale * (there.gradient[a] - back.gradient[a]);  // dE/dr_ij
        answer.forces[i + a] += g;
        answer.forces[j + a] -= g;
        for (int b = 0; b < 3; ++b) answer.virial[3 * a + b] += g * pair.vector[b];
      }
    }
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < a; ++b) answer.virial[3 * a + b] = answer.virial[3 * b + a] = 0.5 * (answer.virial[3 * a + b] + answer.virial[3 * b + a]);
  }

  Model model_;
  const Kernels<T>& kernels_;
  std::unique_ptr<Packed<T>> packed_;
  std::vector<std::unique_ptr<GradientStore<T>>> stores_;  // of each thread
  std::vector<Gradients<T>> gradients_;                    // where they lie
  Intervals intervals_;
  Repulsion repulsion_;
  Pool pool_;
  const double* reference_;
  long n_kinds_ = 0;
  Context<T> context_{};
  int block_size_ = 1;
  std::vector<int> place_, atom_, block_start_, members_;
  std::vector<std::uint64_t> codes_;
  std::vector<long> row_start_, species_, molecules_, member_start_;
  std::vector<double> energies_;
  std::vector<Pair> pairs_;
  Buffer<Edge<T>> edges_;
  Buffer<Geometry> geometry_;
  Buffer<T> fields_, scratch_, factors_;
};

}  // namespace

std::string best_instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "baseline";
}

std::unique_ptr<AnyEngine> make_engine(const Model& model, bool double_precision, int n_threads, const std::string& isa) {
  if (model.n_layers < 1 || model.n_layers > kMaxLayers) throw std::invalid_argument("native engine: between 1 and 16 layers");
  const std::string best = best_instruction_set();
  if (isa != "baseline" && isa != best && !(isa == "avx2" && best == "avx512"))
    throw std::invalid_argument("`instruction_set` must be one that this processor has, at most " + best + "; got " + isa + ".");
  const bool wide = isa == "avx512", middle = isa == "avx2";
  if (double_precision) return std::make_unique<Engine<double>>(model, wide ? avx512::f64 : middle ? avx2::f64 : baseline::f64, n_threads);
  return std::make_unique<Engine<float>>(model, wide ? avx512::f32 : middle ? avx2::f32 : baseline::f32, n_threads);
}
