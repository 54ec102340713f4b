// Python module polcalc.engines.native._native: from arrays to energies, forces and virial.
//
// What comes from Python is checked here, once: kinds of numbers and shapes by `GivenStructure`,
// sizes and names by `Model`, ranges of indices by the engine. Nothing behind it reads beyond an
// array.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "engine.h"

namespace py = pybind11;
using Floats = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Indices = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

namespace {

constexpr int kInterface = 2;  // what `polcalc.engines.native.engine` expects

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
                 const py::object& shared_out)
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
    if (molecules.is_none() != shared_out.is_none())
      throw std::invalid_argument("`molecules` must be given with `shared_out`, or neither.");
    if (molecules.is_none()) return;
    molecules_ = indices("molecules", molecules, N);
    shared_out_ = floats("shared_out", shared_out);
    if (shared_out_->ndim() != 1) refuse("shared_out", "a row of numbers", *shared_out_);
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
    return s;
  }

 private:
  Indices species_, kinds_;
  Floats positions_;
  Indices idx_i_, idx_j_;
  Floats factors_;
  std::optional<Floats> shifts_, shared_out_;
  std::optional<Indices> molecules_;
};

class NativeModule {
 public:
  NativeModule(const py::dict& settings, const py::dict& arrays, bool double_precision,
               int n_threads, const std::string& isa)
      : double_precision_(double_precision) {
    Model model = model_of(settings);
    channels_ = model.channels;
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

  void add_gradients(const GivenStructure& given, const py::object& seeds) {
    const Floats weights = seeds_of(given, seeds);
    const Structure structure = given.view();
    py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_->add_gradients(structure, weights.data(), nullptr);
  }

  py::tuple evaluate_and_add(const GivenStructure& given, const py::object& seeds) {
    const Floats weights = seeds_of(given, seeds);
    const Structure structure = given.view();
    return answered(structure.n_atoms, true, [&](const Answer& answer) {
      engine_->add_gradients(structure, weights.data(), &answer);
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
    Floats energies(Shape{n_atoms}), forces(Shape{gradients ? n_atoms : 0, 3}), virial(Shape{3, 3});
    const Answer answer{energies.mutable_data(), gradients ? forces.mutable_data() : nullptr,
                        virial.mutable_data()};
    for (int k = 0; k < 9; ++k) answer.virial[k] = 0;
    {
      py::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(mutex_);  // the workspace serves one call at a time
      run(answer);
    }
    double energy = 0;
    for (std::int64_t n = 0; n < n_atoms; ++n) energy += answer.energies[n];
    return py::make_tuple(energy, energies, forces, virial);
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
  int channels_ = 0;
  bool double_precision_ = false;
  std::mutex mutex_;
};

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "TensorNet on the CPU: energy, forces and virial of one structure per call.";
  m.attr("instruction_set") = best_instruction_set();
  m.attr("interface") = kInterface;
  m.def(
      "array_sizes", [](const py::dict& settings) { return array_sizes(model_of(settings)); },
      py::arg("settings"));
  py::class_<GivenStructure>(m, "Structure")
      .def(py::init<const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&>(),
           py::kw_only(), py::arg("species"), py::arg("kinds"), py::arg("positions"),
           py::arg("idx_i"), py::arg("idx_j"), py::arg("shifts") = py::none(), py::arg("factors"),
           py::arg("molecules") = py::none(), py::arg("shared_out") = py::none());
  py::class_<NativeModule>(m, "Engine")
      .def(py::init<const py::dict&, const py::dict&, bool, int, const std::string&>(),
           py::arg("settings"), py::arg("arrays"), py::arg("double_precision"),
           py::arg("n_threads"), py::arg("instruction_set") = "")
      .def("evaluate", &NativeModule::evaluate, py::arg("structure"), py::arg("gradients"))
      .def("set_arrays", &NativeModule::set_arrays, py::arg("arrays"))
      .def("clear_gradients", &NativeModule::clear_gradients, py::arg("factor_rows"))
      .def("add_gradients", &NativeModule::add_gradients, py::arg("structure"), py::arg("seeds"))
      .def("evaluate_and_add", &NativeModule::evaluate_and_add, py::arg("structure"),
           py::arg("seeds"))
      .def("gradients", &NativeModule::gradients)
      .def("set_species", &NativeModule::set_species, py::arg("table"))
      .def_property_readonly("bytes", &NativeModule::bytes);
}
