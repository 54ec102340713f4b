#include "engine.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <stdexcept>

#include "charges.h"
#include "edges.h"
#include "gradients.h"
#include "order.h"
#include "packing.h"
#include "phases.h"
#include "refuse.h"
#include "repulsion.h"

namespace {

constexpr int kMaxThreads = 1024;
constexpr int kAtomsPerBlock = 14;  // rows of the widest register tile

template <typename T>
class Engine : public AnyEngine {
 public:
  Engine(const Model& model, const Kernels<T>& kernels, const FarKernels& far, int n_threads)
      : model_(model),
        kernels_(kernels),
        packed_(std::make_unique<Packed<T>>(model_, kernels.panel)),
        edges_(model_),
        repulsion_(model_),
        charges_(model_, far, order_, edges_, context_),
        pool_(n_threads) {
    n_kinds_ = model_.n_species;
    sizes_ = array_sizes(model_);
    reference_ = model_.at("reference");
    forget_packed();
  }

  void evaluate(const Structure& s, const Answer& answer) override {
    if (s.n_atoms == 0) return;
    check(s);
    order_.make(s);
    make_blocks(s.n_atoms);
    edges_.make(s, order_, packed_->weights.width, repulsion_);
    make_fields(s, answer.forces != nullptr, nullptr);
    charges_.add_dispersion(s);
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
    charges_.clear_gradients();
  }

  void add_gradients(const Structure& s, const Seeds& seeds, const Answer* answer) override {
    if (s.n_atoms == 0) return;
    if (gradients_.empty() || !stores_[0]->fits(n_kinds_, s.factor_atoms))
      refuse("clear the gradients first, for as many rows of factors and the species as they are");
    check(s);
    order_.make(s);
    make_blocks(s.n_atoms);
    edges_.make(s, order_, packed_->weights.width, repulsion_);
    make_fields(s, answer != nullptr, &seeds);
    if (answer) charges_.add_dispersion(s);
    run();
    if (answer) collect(s, *answer, seeds.energies);
  }

  void gradients(const Place& place) const override {
    if (gradients_.empty()) refuse("there are no gradients; clear them first");
    for (const auto& store : stores_) store->add_to(place);
    charges_.gradients(place);
  }

  void set_species(const double* table, std::int64_t n_kinds) override {
    packed_->set_species(table, n_kinds);
    n_kinds_ = n_kinds;
  }

  std::int64_t bytes() const override {
    std::size_t total = packed_->bytes() + fields_.bytes() + scratch_.bytes() + factors_.bytes() +
                        edges_.bytes();
    return static_cast<std::int64_t>(total);
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

  void make_blocks(std::int64_t N) {
    const std::int64_t threads = std::min<std::int64_t>(pool_.n_threads, N);
    std::int64_t blocks = (N + kAtomsPerBlock - 1) / kAtomsPerBlock;
    if (blocks < 4 * threads) blocks = (blocks + threads - 1) / threads * threads;
    block_start_.resize(blocks + 1);
    for (std::int64_t b = 0; b <= blocks; ++b) block_start_[b] = static_cast<int>(N * b / blocks);
    block_size_ = static_cast<int>((N + blocks - 1) / blocks);
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
        (3 * 9 + 7 + per_layer * w.n_layers) * one + 2 * N * w.hidden + 2 * padded(N) +
        Charges<T>::needed(w, N);
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
    c.row_start = edges_.row_start.data();
    c.edges = edges_.get();
    c.geometry = edges_.geometry();
    species_.resize(N);
    for (std::int64_t n = 0; n < N; ++n) species_[n] = 2LL * w.width * s.kinds[order_.atom[n]];
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
    for (std::int64_t n = 0; seeds && n < N; ++n) weights[n] = T(seeds->energies[order_.atom[n]]);
    c.seeds = seeds ? weights : nullptr;
    c.training = seeds ? gradients_.data() : nullptr;
    energies_.resize(N);
    c.energies = energies_.data();
    hidden_.resize(model_.hands_out_hidden ? N * w.head : 0);
    c.hidden = model_.hands_out_hidden ? hidden_.data() : nullptr;
    charges_.start(s, seeds, take);
    failure_ = nullptr;
    c.together = [](void* engine, Step step) {  // the pool knows of no exceptions
      Engine& self = *static_cast<Engine*>(engine);
      try {
        self.charges_.step(step);
      } catch (...) {
        self.failure_ = std::current_exception();
      }
    };
    c.engine = this;
    c.atoms = order_.atom.data();
    c.scratch_size = scratch_elements(w, block_size_);
    c.scratch = scratch_.ensure(c.scratch_size * pool_.n_threads);
    spread_factors(s);
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
      const std::int64_t molecule = s.molecules[order_.atom[n]];
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
            s.factors + (l * given + (given > 1 ? order_.atom[n] : 0)) * s.factor_channels;
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
      answer.energies[n] = model_.scale * energies_[order_.place[n]] + reference_[s.species[n]] + share +
                           repulsion_.energy(n) + charges_.energies[n];
    charges_.collect(s, answer);
    for (std::int64_t n = 0; answer.hidden && n < s.n_atoms; ++n)
      std::copy_n(&hidden_[packed_->weights.head * order_.place[n]], model_.head,
                  answer.hidden + model_.head * n);
    if (!answer.forces) return;
    for (std::int64_t k = 0; k < 3 * s.n_atoms; ++k)
      answer.forces[k] = repulsion_.force(k) - charges_.gradient[k];
    for (int k = 0; k < 9; ++k) answer.virial[k] = repulsion_.virial(k) + charges_.virial[k];
    for (const Pair& pair : edges_.pairs) {
      const Geometry &there = edges_.geometry()[pair.there],
                     &back = edges_.geometry()[pair.back];
      const std::int64_t i = 3LL * order_.atom[pair.i], j = 3LL * order_.atom[pair.j];
      const double scale = model_.scale / (seeds ? seeds[order_.atom[pair.i]] : 1.0);
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
  std::unique_ptr<Packed<T>> packed_;
  std::vector<std::unique_ptr<GradientStore<T>>> stores_;  // of each thread
  std::vector<Gradients<T>> gradients_;                    // where they lie
  Order order_;
  Edges<T> edges_;
  Repulsion repulsion_;
  Context<T> context_{};
  Charges<T> charges_;
  Pool pool_;
  const double* reference_;
  std::map<std::string, std::size_t> sizes_;  // of the arrays of the Model
  std::int64_t n_kinds_ = 0;
  int block_size_ = 1;
  std::vector<int> block_start_, members_;
  std::vector<std::int64_t> species_, molecules_, member_start_;
  std::vector<double> energies_, hidden_;
  Buffer<T> fields_, scratch_, factors_;
  std::exception_ptr failure_;
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
