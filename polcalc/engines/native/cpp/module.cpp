// Python module polcalc.engines.native._native: from arrays to energies, forces and virial.
//
// What comes from Python is checked here, once: kinds of numbers and shapes by `GivenStructure`,
// sizes and names by `Model`, ranges of indices by the engine. Nothing behind it reads beyond an
// array.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <optional>

#include "coulomb.h"
#include "dispersion.h"
#include "engine.h"
#include "polarizability.h"

namespace py = pybind11;
using Floats = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Indices = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

namespace {

constexpr int kInterface = 7;  // what `polcalc.engines.native.supported` expects

[[noreturn]] void refuse(const std::string& name, const std::string& rule, const py::array& got) {
  std::string shape;
  for (int k = 0; k < got.ndim(); ++k) shape += (k ? ", " : "") + std::to_string(got.shape(k));
  throw std::invalid_argument("`" + name + "` must be " + rule + "; got " +
                              py::str(py::object(got.dtype())).cast<std::string>() + " of shape (" +
                              shape + ").");
}

py::array array_of(const std::string& name, const py::object& given) {
  py::array array = py::array::ensure(given);
  if (!array) {
    PyErr_Clear();
    throw py::type_error("`" + name + "` must be an array of numbers.");
  }
  return array;
}

Floats floats(const std::string& name, const py::object& given) {
  const py::array array = array_of(name, given);
  const char kind = array.dtype().kind();
  if (kind != 'f' && kind != 'i' && kind != 'u') refuse(name, "real numbers", array);
  return Floats(array);
}

Indices indices(const std::string& name, const py::object& given, std::int64_t size = -1) {
  const py::array array = array_of(name, given);
  const char kind = array.dtype().kind();
  if ((kind != 'i' && kind != 'u') || array.ndim() != 1)
    refuse(name, "a row of whole numbers", array);
  if (size >= 0 && array.size() != size)
    refuse(name, std::to_string(size) + " whole numbers", array);
  return Indices(array);
}

Floats rows_of_three(const std::string& name, const py::object& given, std::int64_t size) {
  Floats array = floats(name, given);
  if (array.ndim() != 2 || array.shape(0) != size || array.shape(1) != 3)
    refuse(name, "(" + std::to_string(size) + ", 3)", array);
  return array;
}

template <typename T>
T setting(const py::dict& settings, const char* name) {
  if (!settings.contains(name))
    throw py::key_error("`settings` must hold " + std::string(name) + ".");
  try {
    return settings[name].cast<T>();
  } catch (const py::cast_error&) {
    throw py::type_error("`settings` must hold a fitting value for " + std::string(name) + ".");
  }
}

Model model_of(const py::dict& settings) {
  Model m;
  m.channels = setting<int>(settings, "channels");
  m.n_layers = setting<int>(settings, "n_layers");
  m.n_species = setting<int>(settings, "n_species");
  m.n_intervals = setting<int>(settings, "n_intervals");
  m.head = setting<int>(settings, "head");
  m.n_heads = setting<int>(settings, "n_heads");
  m.n_values = setting<int>(settings, "n_values");
  m.one_sided = setting<bool>(settings, "one_sided");
  m.repulsion = setting<bool>(settings, "repulsion");
  m.charges = setting<bool>(settings, "charges");
  m.coulomb = setting<bool>(settings, "coulomb");
  m.references = setting<int>(settings, "references");
  m.shells = setting<bool>(settings, "shells");
  m.electrons = setting<bool>(settings, "electrons");
  m.costs = setting<bool>(settings, "costs");
  m.dipoles = setting<bool>(settings, "dipoles");
  m.polarizable = setting<bool>(settings, "polarizable");
  m.hands_out_hidden = setting<bool>(settings, "hands_out_hidden");
  m.n_products = setting<int>(settings, "n_products");
  m.polynomial = setting<bool>(settings, "polynomial");
  m.max_displacement = setting<double>(settings, "max_displacement");
  m.cutoff = setting<double>(settings, "cutoff");
  m.crowding = setting<double>(settings, "crowding");
  m.cells = setting<std::vector<int>>(settings, "cells");
  m.scale = setting<double>(settings, "scale");
  m.offset = setting<double>(settings, "offset");
  m.check_sizes();
  return m;
}

// A structure and the arrays that hold its numbers.
class GivenStructure {
 public:
  GivenStructure(const py::object& species, const py::object& kinds, const py::object& positions,
                 const py::object& idx_i, const py::object& idx_j, const py::object& shifts,
                 const py::object& factors, const py::object& molecules,
                 const py::object& shared_out, const py::object& systems,
                 const py::object& lattices, const py::object& parts,
                 const py::object& part_charges, const py::object& part_unpaired,
                 const py::object& fields)
      : species_(indices("species", species)),
        kinds_(indices("kinds", kinds, species_.size())),
        positions_(rows_of_three("positions", positions, species_.size())),
        idx_i_(indices("idx_i", idx_i)),
        idx_j_(indices("idx_j", idx_j, idx_i_.size())),
        factors_(floats("factors", factors)) {
    const std::int64_t N = species_.size();
    if (!shifts.is_none()) shifts_ = rows_of_three("shifts", shifts, idx_i_.size());
    if (factors_.ndim() != 3 || (factors_.shape(1) != 1 && factors_.shape(1) != N))
      refuse("factors", "(layers, atoms or 1, channels or 1)", factors_);
    const auto with_numbers = [N](const char* name, const py::object& atoms, const char* of_each,
                                  const py::object& numbers, std::optional<Indices>& to_atoms,
                                  std::optional<Floats>& to_numbers) {
      if (atoms.is_none() != numbers.is_none())
        throw std::invalid_argument("`" + std::string(name) + "` must be given with `" + of_each +
                                    "`, or neither.");
      if (atoms.is_none()) return;
      to_atoms = indices(name, atoms, N);
      to_numbers = floats(of_each, numbers);
    };
    with_numbers("molecules", molecules, "shared_out", shared_out, molecules_, shared_out_);
    with_numbers("systems", systems, "lattices", lattices, systems_, lattices_);
    with_numbers("parts", parts, "part_charges", part_charges, parts_, part_charges_);
    if (shared_out_ && shared_out_->ndim() != 1)
      refuse("shared_out", "a row of numbers", *shared_out_);
    if (part_charges_ && part_charges_->ndim() != 1)
      refuse("part_charges", "a row of numbers", *part_charges_);
    if (!part_unpaired.is_none()) {
      part_unpaired_ = floats("part_unpaired", part_unpaired);
      if (!part_charges_ || part_unpaired_->ndim() != 1 ||
          part_unpaired_->size() != part_charges_->size())
        refuse("part_unpaired", "a number for each of `part_charges`", *part_unpaired_);
    }
    if (lattices_ &&
        (lattices_->ndim() != 3 || lattices_->shape(1) != 3 || lattices_->shape(2) != 3))
      refuse("lattices", "(systems, 3, 3)", *lattices_);
    if (!fields.is_none())
      fields_ = rows_of_three("fields", fields, lattices_ ? lattices_->shape(0) : 1);
  }

  std::int64_t n_atoms() const { return species_.size(); }

  Structure view() const {
    Structure s{};
    s.n_atoms = species_.size();
    s.n_pairs = idx_i_.size();
    s.species = species_.data();
    s.kinds = kinds_.data();
    s.positions = positions_.data();
    s.idx_i = idx_i_.data();
    s.idx_j = idx_j_.data();
    s.shifts = shifts_ ? shifts_->data() : nullptr;
    s.factors = factors_.data();
    s.factor_layers = factors_.shape(0);
    s.factor_atoms = factors_.shape(1);
    s.factor_channels = factors_.shape(2);
    s.molecules = molecules_ ? molecules_->data() : nullptr;
    s.shared_out = shared_out_ ? shared_out_->data() : nullptr;
    s.n_molecules = shared_out_ ? shared_out_->size() : 0;
    s.systems = systems_ ? systems_->data() : nullptr;
    s.lattices = lattices_ ? lattices_->data() : nullptr;
    s.n_systems = lattices_ ? lattices_->shape(0) : 0;
    s.parts = parts_ ? parts_->data() : nullptr;
    s.part_charges = part_charges_ ? part_charges_->data() : nullptr;
    s.part_unpaired = part_unpaired_ ? part_unpaired_->data() : nullptr;
    s.n_parts = part_charges_ ? part_charges_->size() : 0;
    s.fields = fields_ ? fields_->data() : nullptr;
    return s;
  }

 private:
  Indices species_, kinds_;
  Floats positions_;
  Indices idx_i_, idx_j_;
  Floats factors_;
  std::optional<Floats> shifts_, shared_out_, lattices_, part_charges_, part_unpaired_, fields_;
  std::optional<Indices> molecules_, systems_, parts_;
};

class NativeModule {
 public:
  NativeModule(const py::dict& settings, const py::dict& arrays, bool double_precision,
               int n_threads, const std::string& isa)
      : double_precision_(double_precision) {
    Model model = model_of(settings);
    channels_ = model.channels;
    charges_ = model.charges;
    shells_ = model.shells;
    electrons_ = model.electrons;
    dipoles_ = model.dipoles;
    polarizable_ = model.polarizable;
    head_ = model.hands_out_hidden ? model.head : 0;
    for (auto item : arrays) {
      const std::string name = item.first.cast<std::string>();
      const Floats array = floats(name, py::reinterpret_borrow<py::object>(item.second));
      model.arrays[name] = std::vector<double>(array.data(), array.data() + array.size());
    }
    engine_ =
        make_engine(model, double_precision, n_threads, isa.empty() ? best_instruction_set() : isa);
  }

  void set_species(const py::object& given) {
    const Floats table = floats("table", given);
    if (table.ndim() != 3 || table.shape(0) < 1 || table.shape(1) != 2 ||
        table.shape(2) != channels_)
      refuse("table", "(kinds, 2, " + std::to_string(channels_) + ")", table);
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_->set_species(table.data(), table.shape(0));
  }

  void set_arrays(const py::dict& arrays) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto item : arrays) {
      const std::string name = item.first.cast<std::string>();
      const Floats array = floats(name, py::reinterpret_borrow<py::object>(item.second));
      engine_->set_array(name, array.data(), array.size());
    }
    engine_->pack();
  }

  void clear_gradients(std::int64_t factor_rows) {
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_->clear_gradients(factor_rows);
  }

  void add_gradients(const GivenStructure& given, const py::object& seeds, const py::dict& others) {
    const Floats weights = seeds_of(given, seeds);
    const Structure structure = given.view();
    Seeds all{};
    all.energies = weights.data();
    const std::int64_t N = structure.n_atoms;
    struct Place {
      const char* name;
      const double** to;
      std::int64_t size;
      bool known;
    } places[6] = {{"charges", &all.charges, N, charges_},
                   {"shells", &all.shells, 3 * N, shells_},
                   {"shell_charges", &all.electrons, N, shells_},
                   {"shared", &all.shared, 4 * N, electrons_},
                   {"dipoles", &all.dipoles, 3 * N, dipoles_},
                   {"roots", &all.roots, kRootNumbers * N, polarizable_}};
    std::vector<Floats> kept;
    for (auto item : others) {
      const std::string name = item.first.cast<std::string>();
      const auto* place = std::find_if(std::begin(places), std::end(places),
                                       [&name](const Place& p) { return p.known && p.name == name; });
      if (place == std::end(places))
        throw std::invalid_argument("`others` must be of what is predicted; got " + name + ".");
      kept.push_back(floats(name, py::reinterpret_borrow<py::object>(item.second)));
      if (kept.back().size() != place->size)
        refuse(name, std::to_string(place->size) + " numbers", kept.back());
      *place->to = kept.back().data();
    }
    py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_->add_gradients(structure, all, nullptr);
  }

  py::tuple evaluate_and_add(const GivenStructure& given, const py::object& seeds) {
    const Floats weights = seeds_of(given, seeds);
    const Structure structure = given.view();
    Seeds all{};
    all.energies = weights.data();
    return answered(structure.n_atoms, true, [&](const Answer& answer) {
      engine_->add_gradients(structure, all, &answer);
    });
  }

  py::tuple evaluate(const GivenStructure& given, bool gradients) {
    const Structure structure = given.view();
    return answered(structure.n_atoms, gradients,
                    [&](const Answer& answer) { engine_->evaluate(structure, answer); });
  }

  py::dict gradients() {
    const std::lock_guard<std::mutex> lock(mutex_);
    py::dict found;
    engine_->gradients([this, &found](const std::string& name, std::int64_t size) {
      if (!found.contains(name.c_str()))
        found[name.c_str()] = double_precision_ ? zeros<double>(size) : zeros<float>(size);
      return found[name.c_str()].cast<py::array>().mutable_data();
    });
    return found;
  }

  std::int64_t bytes() const { return engine_->bytes(); }

 private:
  // Energy, energies, forces and virial as `run` answers
  template <typename Run>
  py::tuple answered(std::int64_t n_atoms, bool gradients, Run run) {
    using Shape = std::vector<py::ssize_t>;
    Floats energies(Shape{n_atoms}), forces(Shape{gradients ? n_atoms : 0, 3}), virial(Shape{3, 3}),
        charges(Shape{charges_ ? n_atoms : 0}), shells(Shape{shells_ ? n_atoms : 0, 3}),
        electrons(Shape{shells_ ? n_atoms : 0}), shared(Shape{4, electrons_ ? n_atoms : 0}),
        dipoles(Shape{dipoles_ ? n_atoms : 0, 3}),
        roots(Shape{polarizable_ ? n_atoms : 0, kRootNumbers}), hidden(Shape{head_ ? n_atoms : 0, head_});
    const Answer answer{energies.mutable_data(), charges_ ? charges.mutable_data() : nullptr,
                        shells_ ? shells.mutable_data() : nullptr,
                        shells_ ? electrons.mutable_data() : nullptr,
                        electrons_ ? shared.mutable_data() : nullptr,
                        dipoles_ ? dipoles.mutable_data() : nullptr,
                        polarizable_ ? roots.mutable_data() : nullptr,
                        head_ ? hidden.mutable_data() : nullptr,
                        gradients ? forces.mutable_data() : nullptr, virial.mutable_data()};
    for (int k = 0; k < 9; ++k) answer.virial[k] = 0;
    {
      py::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(mutex_);  // the workspace serves one call at a time
      run(answer);
    }
    double energy = 0;
    for (std::int64_t n = 0; n < n_atoms; ++n) energy += answer.energies[n];
    return py::make_tuple(energy, energies, forces, virial, charges, shells, electrons, shared,
                          dipoles, roots, hidden);
  }

  static Floats seeds_of(const GivenStructure& given, const py::object& seeds) {
    Floats found = floats("seeds", seeds);
    if (found.ndim() != 1 || found.size() != given.n_atoms())
      refuse("seeds", "a number for each of " + std::to_string(given.n_atoms()) + " atoms", found);
    return found;
  }

  template <typename T>
  static py::array zeros(std::int64_t size) {
    py::array_t<T> made(size);
    std::fill_n(made.mutable_data(), size, T(0));
    return made;
  }

  std::unique_ptr<AnyEngine> engine_;
  int channels_ = 0, head_ = 0;
  bool charges_ = false, shells_ = false, electrons_ = false, dipoles_ = false,
       polarizable_ = false;
  bool double_precision_ = false;
  std::mutex mutex_;
};

// The sums of what reaches beyond the network, by themselves
struct Sums {
  std::int64_t N;
  Floats energies, positions, charges, shells, electrons, virial, widths;

  Sums(std::int64_t n_atoms, std::int64_t n_species)
      : N(n_atoms),
        energies(zeros({N})),
        positions(zeros({N, 3})),
        charges(zeros({N})),
        shells(zeros({N, 3})),
        electrons(zeros({N})),
        virial(zeros({3, 3})),
        widths(zeros({n_species})) {}

  static Floats zeros(const std::vector<py::ssize_t>& shape) {
    Floats made(shape);
    std::fill_n(made.mutable_data(), made.size(), 0.0);
    return made;
  }
};

void check_rows(const Indices& species, std::int64_t n_species) {
  for (py::ssize_t n = 0; n < species.size(); ++n)
    if (species.data()[n] < 0 || species.data()[n] >= n_species)
      throw std::invalid_argument("`species` must be rows of the tables.");
}

void check_finite(const char* name, const Floats& array) {
  for (py::ssize_t k = 0; k < array.size(); ++k)
    if (!std::isfinite(array.data()[k])) refuse(name, "finite", array);
}

Floats row_of(const std::string& name, const py::object& given, std::int64_t size) {
  Floats array = floats(name, given);
  if (array.ndim() != 1 || array.size() != size)
    refuse(name, std::to_string(size) + " numbers", array);
  return array;
}

py::dict coulomb(const py::object& species, const py::object& positions, const py::object& lattice,
                 const py::object& charges, const py::object& widths, const py::object& shells,
                 const py::object& electrons, const std::string& isa) {
  const Indices rows = indices("species", species);
  const std::int64_t N = rows.size();
  const Floats places = rows_of_three("positions", positions, N), q = row_of("charges", charges, N),
               wide = floats("widths", widths);
  check_rows(rows, wide.size());
  std::optional<Floats> cell, moved, n;
  if (!lattice.is_none()) cell = rows_of_three("lattice", lattice, 3);
  if (!shells.is_none()) {
    moved = rows_of_three("shells", shells, N);
    n = row_of("electrons", electrons, N);
  }
  check_finite("positions", places);
  if (cell) {
    check_finite("lattice", *cell);
    const Basis basis(cell->data());
    basis.check();
    CoulombSum::check(basis);
  }
  Sums to(N, wide.size());
  CoulombSum sum;
  sum.add(far_kernels(isa), wide.data(),
          {N, places.data(), rows.data(), cell ? cell->data() : nullptr},
          {q.data(), moved ? moved->data() : nullptr, n ? n->data() : nullptr},
          {to.energies.mutable_data(), to.positions.mutable_data(), to.charges.mutable_data(),
           to.shells.mutable_data(), to.electrons.mutable_data(), to.virial.mutable_data(),
           to.widths.mutable_data()});
  py::dict found;
  found["energies"] = to.energies;
  found["positions"] = to.positions;
  found["charges"] = to.charges;
  found["shells"] = to.shells;
  found["electrons"] = to.electrons;
  found["virial"] = to.virial;
  found["widths"] = to.widths;
  return found;
}

py::dict dispersion(const py::object& species, const py::object& positions,
                    const py::object& lattice, const py::dict& tables, const std::string& isa) {
  const Indices rows = indices("species", species);
  const std::int64_t N = rows.size();
  const Floats places = rows_of_three("positions", positions, N);
  const auto table = [&tables](const char* name) { return floats(name, tables[name]); };
  const Floats radius = table("d3.radius"), scale = table("d3.scale"),
               coordination = table("d3.coordination"), reference = table("d3.reference"),
               damping = table("d3.damping");
  const std::int64_t Z = radius.size(), A = Z ? coordination.size() / Z : 0;
  if (scale.size() != Z || A < 1 || A > kMostReferences || coordination.size() != Z * A ||
      reference.size() != Z * Z * A * A || damping.size() != 7)
    throw std::invalid_argument("`tables` must be of one number of elements and references.");
  check_rows(rows, Z);
  std::optional<Floats> cell;
  if (!lattice.is_none()) cell = rows_of_three("lattice", lattice, 3);
  check_finite("positions", places);
  if (cell) {
    check_finite("lattice", *cell);
    Basis(cell->data()).check();
  }
  Sums to(N, Z);
  DispersionSum sum;
  sum.add(far_kernels(isa),
          {static_cast<int>(A), radius.data(), scale.data(), coordination.data(),
           reference.data(), damping.data(), Z},
          {N, places.data(), rows.data(), cell ? cell->data() : nullptr},
          to.energies.mutable_data(), to.positions.mutable_data(), to.virial.mutable_data());
  py::dict found;
  found["energies"] = to.energies;
  found["positions"] = to.positions;
  found["virial"] = to.virial;
  return found;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "TensorNet on the CPU: energy, forces and virial of one structure per call.";
  m.attr("instruction_set") = best_instruction_set();
  m.attr("interface") = kInterface;
  m.def(
      "array_sizes", [](const py::dict& settings) { return array_sizes(model_of(settings)); },
      py::arg("settings"));
  m.def("coulomb", coulomb, py::kw_only(), py::arg("species"), py::arg("positions"),
        py::arg("lattice"), py::arg("charges"), py::arg("widths"), py::arg("shells") = py::none(),
        py::arg("electrons") = py::none(), py::arg("instruction_set") = "");
  m.def("dispersion", dispersion, py::kw_only(), py::arg("species"), py::arg("positions"),
        py::arg("lattice"), py::arg("tables"), py::arg("instruction_set") = "");
  py::class_<GivenStructure>(m, "Structure")
      .def(py::init<const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&, const py::object&, const py::object&>(),
           py::kw_only(), py::arg("species"), py::arg("kinds"), py::arg("positions"),
           py::arg("idx_i"), py::arg("idx_j"), py::arg("shifts") = py::none(), py::arg("factors"),
           py::arg("molecules") = py::none(), py::arg("shared_out") = py::none(),
           py::arg("systems") = py::none(), py::arg("lattices") = py::none(),
           py::arg("parts") = py::none(), py::arg("part_charges") = py::none(),
           py::arg("part_unpaired") = py::none(), py::arg("fields") = py::none());
  py::class_<NativeModule>(m, "Engine")
      .def(py::init<const py::dict&, const py::dict&, bool, int, const std::string&>(),
           py::arg("settings"), py::arg("arrays"), py::arg("double_precision"),
           py::arg("n_threads"), py::arg("instruction_set") = "")
      .def("evaluate", &NativeModule::evaluate, py::arg("structure"), py::arg("gradients"))
      .def("set_arrays", &NativeModule::set_arrays, py::arg("arrays"))
      .def("clear_gradients", &NativeModule::clear_gradients, py::arg("factor_rows"))
      .def("add_gradients", &NativeModule::add_gradients, py::arg("structure"), py::arg("seeds"),
           py::arg("others") = py::dict())
      .def("evaluate_and_add", &NativeModule::evaluate_and_add, py::arg("structure"),
           py::arg("seeds"))
      .def("gradients", &NativeModule::gradients)
      .def("set_species", &NativeModule::set_species, py::arg("table"))
      .def_property_readonly("bytes", &NativeModule::bytes);
}
