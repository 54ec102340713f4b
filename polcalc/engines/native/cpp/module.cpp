// Python module polcalc.engines.native._native: one class, from arrays to energies, forces and virial.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <mutex>

#include "engine.h"

namespace py = pybind11;
using Floats = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Indices = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;
using Attending = std::pair<Indices, Floats>;  // molecule of each atom, and what each molecule shares out
static_assert(sizeof(long) == sizeof(std::int64_t), "64-bit long");

class NativeModule {
 public:
  NativeModule(const py::dict& settings, const py::dict& arrays, bool double_precision, int n_threads, const std::string& isa) {
    Model m;
    m.channels = settings["channels"].cast<int>();
    m.n_layers = settings["n_layers"].cast<int>();
    m.n_species = settings["n_species"].cast<int>();
    m.n_intervals = settings["n_intervals"].cast<int>();
    m.head = settings["head"].cast<int>();
    m.n_heads = settings["n_heads"].cast<int>();
    m.n_values = settings["n_values"].cast<int>();
    m.one_sided = settings["one_sided"].cast<bool>();
    m.repulsion = settings["repulsion"].cast<bool>();
    m.cutoff = settings["cutoff"].cast<double>();
    m.crowding = settings["crowding"].cast<double>();
    m.cells = settings["cells"].cast<std::vector<int>>();
    m.scale = settings["scale"].cast<double>();
    m.offset = settings["offset"].cast<double>();
    m.arrays = arrays_of(arrays);
    channels_ = m.channels;
    double_precision_ = double_precision;
    engine_ = make_engine(m, double_precision, n_threads, isa.empty() ? best_instruction_set() : isa);
  }

  void set_species(const Floats& table) {
    if (table.ndim() != 3 || table.shape(1) != 2 || table.shape(2) != channels_) throw std::invalid_argument("native engine: species must be (n, 2, C)");
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_->set_species(table.data(), table.shape(0));
  }

  void set_arrays(const py::dict& arrays) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto item : arrays) {
      const Floats array = item.second.cast<Floats>();
      engine_->set_array(item.first.cast<std::string>(), array.data(), array.size());
    }
    engine_->pack();
  }

  void clear_gradients(long factor_rows) {
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_->clear_gradients(factor_rows);
  }

  void add_gradients(const Indices& species, const Indices& kinds, const Floats& positions, const Indices& idx_i, const Indices& idx_j, const std::optional<Floats>& shifts,
                     const Floats& factors, const std::optional<Attending>& molecules, const Floats& seeds) {
    const Structure structure = structure_of(species, kinds, positions, idx_i, idx_j, shifts, factors, molecules);
    check_seeds(seeds, structure.n_atoms);
    py::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    engine_->add_gradients(structure, seeds.data(), nullptr);
  }

  py::tuple evaluate_and_add(const Indices& species, const Indices& kinds, const Floats& positions, const Indices& idx_i, const Indices& idx_j,
                             const std::optional<Floats>& shifts, const Floats& factors, const std::optional<Attending>& molecules, const Floats& seeds) {
    const Structure structure = structure_of(species, kinds, positions, idx_i, idx_j, shifts, factors, molecules);
    check_seeds(seeds, structure.n_atoms);
    return answered(structure.n_atoms, true, [&](const Answer& answer) { engine_->add_gradients(structure, seeds.data(), &answer); });
  }

  py::dict gradients() {
    const std::lock_guard<std::mutex> lock(mutex_);
    py::dict found;
    engine_->gradients([this, &found](const std::string& name, long size) {
      if (!found.contains(name.c_str())) found[name.c_str()] = double_precision_ ? zeros<double>(size) : zeros<float>(size);
      return found[name.c_str()].cast<py::array>().mutable_data();
    });
    return found;
  }

  py::tuple evaluate(const Indices& species, const Indices& kinds, const Floats& positions, const Indices& idx_i, const Indices& idx_j, const std::optional<Floats>& shifts,
                     const Floats& factors, const std::optional<Attending>& molecules, bool gradients) {
    const Structure structure = structure_of(species, kinds, positions, idx_i, idx_j, shifts, factors, molecules);
    return answered(structure.n_atoms, gradients, [&](const Answer& answer) { engine_->evaluate(structure, answer); });
  }

  long bytes() const { return engine_->bytes(); }

 private:
  // Energy, energies, forces and virial as `run` answers
  template <typename Run>
  py::tuple answered(long n_atoms, bool gradients, Run run) {
    Floats energies(n_atoms), forces(gradients ? std::vector<long>{n_atoms, 3} : std::vector<long>{0, 3}), virial(std::vector<long>{3, 3});
    const Answer answer{energies.mutable_data(), gradients ? forces.mutable_data() : nullptr, virial.mutable_data()};
    for (int k = 0; k < 9; ++k) answer.virial[k] = 0;
    {
      py::gil_scoped_release release;
      const std::lock_guard<std::mutex> lock(mutex_);  // the workspace serves one call at a time
      run(answer);
    }
    double energy = 0;
    for (long n = 0; n < n_atoms; ++n) energy += answer.energies[n];
    return py::make_tuple(energy, energies, forces, virial);
  }

  static void check_seeds(const Floats& seeds, long n_atoms) {
    if (seeds.size() != n_atoms) throw std::invalid_argument("native engine: array shapes disagree");
  }

  template <typename T>
  static py::array zeros(long size) {
    py::array_t<T> made(size);
    std::fill_n(made.mutable_data(), size, T(0));
    return made;
  }

  static std::map<std::string, std::vector<double>> arrays_of(const py::dict& arrays) {
    std::map<std::string, std::vector<double>> found;
    for (auto item : arrays) {
      const Floats array = item.second.cast<Floats>();
      found[item.first.cast<std::string>()] = std::vector<double>(array.data(), array.data() + array.size());
    }
    return found;
  }

  static Structure structure_of(const Indices& species, const Indices& kinds, const Floats& positions, const Indices& idx_i, const Indices& idx_j,
                                const std::optional<Floats>& shifts, const Floats& factors, const std::optional<Attending>& molecules) {
    const long N = species.size();
    if (kinds.size() != N || positions.size() != 3 * N || idx_i.size() != idx_j.size() || (shifts && shifts->size() != 3 * idx_i.size()) || (molecules && molecules->first.size() != N) || factors.ndim() != 3 ||
        (factors.shape(1) != 1 && factors.shape(1) != N))
      throw std::invalid_argument("native engine: array shapes disagree");
    return {N,           idx_i.size(), reinterpret_cast<const long*>(species.data()), reinterpret_cast<const long*>(kinds.data()), positions.data(),
            reinterpret_cast<const long*>(idx_i.data()), reinterpret_cast<const long*>(idx_j.data()),
            shifts ? shifts->data() : nullptr, factors.data(), factors.shape(1), factors.shape(2),
            molecules ? reinterpret_cast<const long*>(molecules->first.data()) : nullptr, molecules ? molecules->second.data() : nullptr, molecules ? molecules->second.size() : 0};
  }

  std::unique_ptr<AnyEngine> engine_;
  int channels_ = 0;
  bool double_precision_ = false;
  std::mutex mutex_;
};

PYBIND11_MODULE(_native, m) {
  m.doc() = "TensorNet on the CPU: energy, forces and virial of one structure per call.";
  m.attr("instruction_set") = best_instruction_set();
  py::class_<NativeModule>(m, "Engine")
      .def(py::init<const py::dict&, const py::dict&, bool, int, const std::string&>(), py::arg("settings"), py::arg("arrays"), py::arg("double_precision"),
           py::arg("n_threads"), py::arg("instruction_set") = "")
      .def("evaluate", &NativeModule::evaluate, py::arg("species"), py::arg("kinds"), py::arg("positions"), py::arg("idx_i"), py::arg("idx_j"), py::arg("shifts").none(true),
           py::arg("factors"), py::arg("molecules").none(true), py::arg("gradients"))
      .def("set_arrays", &NativeModule::set_arrays, py::arg("arrays"))
      .def("clear_gradients", &NativeModule::clear_gradients, py::arg("factor_rows"))
      .def("add_gradients", &NativeModule::add_gradients, py::arg("species"), py::arg("kinds"), py::arg("positions"), py::arg("idx_i"), py::arg("idx_j"),
           py::arg("shifts").none(true), py::arg("factors"), py::arg("molecules").none(true), py::arg("seeds"))
      .def("evaluate_and_add", &NativeModule::evaluate_and_add, py::arg("species"), py::arg("kinds"), py::arg("positions"), py::arg("idx_i"), py::arg("idx_j"),
           py::arg("shifts").none(true), py::arg("factors"), py::arg("molecules").none(true), py::arg("seeds"))
      .def("gradients", &NativeModule::gradients)
      .def("set_species", &NativeModule::set_species, py::arg("table"))
      .def_property_readonly("bytes", &NativeModule::bytes);
}
