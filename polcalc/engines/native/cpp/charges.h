// What lies between the phases of the kernels, in float64 and by one thread: charge and unpaired
// electrons are shared out; charges of neighbours, shells, dipoles and polarizabilities are made of
// what was read out; their energies, and what is asked of what was read.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <vector>

#include "coulomb.h"
#include "dispersion.h"
#include "edges.h"
#include "engine.h"
#include "order.h"
#include "polarizability.h"
#include "sharing.h"
#include "splitting.h"

template <typename T>
class Charges {
 public:
  Charges(const Model& model, const FarKernels& far, const Order& order, const Edges<T>& edges,
          Context<T>& context)
      : model_(model), far_(far), order_(order), edges_(edges), context_(context) {}

  // Numbers of the workspace for so many atoms
  static std::int64_t needed(const Weights<T>& w, std::int64_t N) {
    std::int64_t found = 2 * padded(N) + kVectors * padded(3 * N) + 2 * N * w.ends.outputs +
                         padded(5 * N);
    if (w.electrons) found += (9 + 3 + 4) * N * w.width + 3 * N * kPad + padded(N);
    return found;
  }

  // Say in the context where everything lies; take(n) is room for n numbers
  template <typename Take>
  void start(const Structure& s, const Seeds* seeds, Take take) {
    Context<T>& c = context_;
    const Weights<T>& w = *c.w;
    const std::int64_t N = s.n_atoms, one = N * w.width;
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
    energies.assign(N, 0.0);
    gradient.assign(3 * N, 0.0);
    std::fill_n(virial, 9, 0.0);
  }

  void add_dispersion(const Structure& s) {
    if (!model_.references) return;
    const DispersionTables tables{model_.references,      model_.at("d3.radius"),
                                  model_.at("d3.scale"),  model_.at("d3.coordination"),
                                  model_.at("d3.reference"), model_.at("d3.damping"),
                                  model_.n_species};
    each_system(s, [&](const FarStructure& part, std::int64_t first) {
      dispersion_.add(far_, tables, part, &energies[first], &gradient[3 * first], virial);
    });
  }

  void step(Step step) {
    if (step == kShare)
      share();
    else if (step == kShareBack)
      share_back();
    else
      settle();
  }

  void collect(const Structure& s, const Answer& answer) const {
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
      std::copy_n(&vectors_[1][3 * order_.place[n]], 3, answer.dipoles + 3 * n);
    for (std::int64_t n = 0; answer.roots && n < s.n_atoms; ++n)
      root_of(n, answer.roots + kRootNumbers * n);
  }

  // Gradients by weights that no kernel sees
  void clear_gradients() {
    to_widths_.assign(model_.n_species, 0.0);
    to_logarithms_.assign(model_.n_species, 0.0);
    to_costs_.assign(3 * model_.n_species, 0.0);
  }
  void gradients(const Place& place) const {
    const auto add = [&place](const char* name, const std::vector<double>& found) {
      T* to = static_cast<T*>(place(name, static_cast<std::int64_t>(found.size())));
      for (std::size_t k = 0; k < found.size(); ++k) to[k] += T(found[k]);
    };
    if (model_.coulomb) add("coulomb.width", to_widths_);
    if (model_.shells) add("shell.charge", to_logarithms_);
    if (model_.costs) add("electron.cost", to_costs_);
  }

  // Of what reaches beyond the network, of costs and in a field
  std::vector<double> energies, gradient;
  double virial[9] = {};

 private:
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

  // Share out charge and unpaired electrons, and tell the atoms. By one thread.
  void share() {
    const Structure& s = *settling_.structure;
    const std::int64_t N = s.n_atoms;
    const ElectronFields<T>& f = context_.electrons;
    numbers_.resize(Sharing::kNumbers * N);
    for (std::int64_t n = 0; n < N; ++n)
      for (int k = 0; k < Sharing::kNumbers; ++k)
        numbers_[Sharing::kNumbers * order_.atom[n] + k] = double(f.numbers[kPad * n + k]);
    sharing_.share(N, numbers_.data(), {s.parts, s.n_parts, s.part_charges, s.part_unpaired});
    std::fill_n(f.known, N * kPad, T(0));
    for (std::int64_t n = 0; n < N; ++n) {
      const std::int64_t atom = order_.atom[n];
      const double charge = sharing_.excess[atom], unpaired = sharing_.unpaired[atom];
      f.known[kPad * n] = T(charge);
      f.known[kPad * n + 1] = T(unpaired);
      double* to = &to_known_[2 * n];
      for (int k = 0; k < 2; ++k) to[k] = by_shared(2 + k, atom) / model_.scale;
      if (!model_.costs) continue;
      const double* cost = model_.at("electron.cost") + 3 * s.species[atom];
      const double seed = energy_seed(atom), amounts[3] = {charge, charge * charge, unpaired};
      for (int k = 0; k < 3; ++k) {
        energies[atom] += cost[k] * amounts[k];
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
      const std::int64_t atom = order_.atom[n];
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
        to[kPad * n + k] = T(to_numbers_[Sharing::kNumbers * order_.atom[n] + k]);
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
      for (std::int64_t n = 0; n < N; ++n) own_charges_[order_.atom[n]] = charges_[n];
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
                     {&energies[first], &gradient[3 * first], &to_charges_[first],
                      shells ? &to_shells_[3 * first] : nullptr,
                      shells ? &to_electrons_[first] : nullptr, virial, widths_.data()});
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
    for (std::int64_t n = 0; n < N; ++n) settling_.to_charges[n] = T(asked[order_.atom[n]]);
    if (model_.shells) ask_shells(s);
    T* to_dipoles = settling_.to_vectors[1];
    for (std::int64_t n = 0; model_.dipoles && n < 3 * N; ++n) {
      const std::int64_t atom = order_.atom[n / 3];
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
          gradient[3 * n + a] -= own_charges_[n] * field[a];
          if (model_.dipoles) {
            energy -= vectors_[1][3 * order_.place[n] + a] * field[a];
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
        energies[n] += energy / static_cast<double>(part.n_atoms);
    });
  }

  void root_of(std::int64_t atom, double* numbers) const {
    const std::int64_t n = order_.place[atom];
    numbers[0] = kInitialRoot + means_[n];
    std::copy_n(&tensors_[5 * n], 5, numbers + 1);
  }

  // What is asked of the roots of polarizabilities, by the field and by seeds
  void ask_roots(const Structure& s) {
    const double* seeds = settling_.seeds.roots;
    for (std::int64_t n = 0; n < s.n_atoms; ++n) {
      const std::int64_t atom = order_.atom[n];
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
    const Weights<T>& w = *context_.w;
    const std::int64_t size = s.n_atoms * w.ends.outputs;
    ends_.assign(context_.ends, context_.ends + size);
    handed_.resize(edges_.pairs.size());
    const Ends ends = ends_of();
    for (std::size_t p = 0; p < edges_.pairs.size(); ++p) {
      const Pair& pair = edges_.pairs[p];
      const int i = order_.atom[pair.i], j = order_.atom[pair.j];
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
    for (std::size_t p = 0; p < edges_.pairs.size(); ++p) {
      const Pair& pair = edges_.pairs[p];
      const int i = order_.atom[pair.i], j = order_.atom[pair.j];
      if (s.parts[i] != s.parts[j]) continue;
      const Envelope envelope = envelope_of(pair);
      ends.product_back(pair.i, pair.j, envelope.value * (asked[i] - asked[j]), to_ends_.data());
      const double along = envelope.slope * handed_[p] * (to_charges_[i] - to_charges_[j]);
      for (int a = 0; pair.length > 0 && a < 3; ++a) {
        const double g = along * pair.vector[a] / pair.length;
        gradient[3 * j + a] += g;
        gradient[3 * i + a] -= g;
        for (int b = 0; b < 3; ++b) virial[3 * a + b] += g * pair.vector[b];
      }
    }
    for (std::size_t k = 0; k < to_ends_.size(); ++k) settling_.to_ends[k] = T(to_ends_[k]);
    for (std::int64_t n = 0; n < s.n_atoms; ++n) to_known_[2 * n] += asked[order_.atom[n]];
  }
  Ends ends_of() const {
    return {ends_.data(), context_.w->ends.outputs, padded(model_.n_products),
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
      const std::int64_t atom = order_.atom[n];
      for (int a = 0; a < 3; ++a) own_shells_[3 * atom + a] = scale * raw[a];
      electrons_[atom] = std::exp(model_.at("shell.charge")[s.species[atom]]);
    }
  }

  // And back, once the gradient by these is known
  void ask_shells(const Structure& s) {
    const Seeds& seeds = settling_.seeds;
    const double most2 = model_.max_displacement * model_.max_displacement;
    for (std::int64_t n = 0; n < s.n_atoms; ++n) {
      const std::int64_t atom = order_.atom[n];
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
  const Model& model_;
  const FarKernels& far_;
  const Order& order_;
  const Edges<T>& edges_;
  Context<T>& context_;
  struct Settling {  // of the evaluation at hand
    const Structure* structure;
    Seeds seeds;
    T *to_charges, *to_ends, *to_vectors[kVectors], *to_means, *to_tensors;
  } settling_{};
  DispersionSum dispersion_;
  CoulombSum coulomb_;
  Sharing sharing_;
  std::vector<double> numbers_, to_numbers_, to_known_, to_costs_, asked_[4], ends_, to_ends_,
      handed_;
  std::vector<double> means_, tensors_, vectors_[kVectors], own_shells_, electrons_, to_shells_, to_electrons_,
      to_logarithms_;
  std::vector<double> charges_, own_charges_, to_charges_, widths_, to_widths_, shifts_;
  std::vector<std::int64_t> counts_;
};
