// Python module potentials.ops._kernels: products of arrays, checked here; the instruction set is
// chosen at load. Arrays are used where they lie: contiguous, of one sort of numbers; the result is
// one of them.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <type_traits>

#include "kernels.h"

namespace py = pybind11;

namespace {

constexpr int kInterface = 2;  // what `potentials.ops.kernels` expects

std::string instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "baseline";
}

template <typename T>
const Table<T>& chosen() {
  static const std::string isa = instruction_set();
  if constexpr (std::is_same_v<T, float>)
    return isa == "avx512" ? avx512::f32 : isa == "avx2" ? avx2::f32 : baseline::f32;
  else
    return isa == "avx512" ? avx512::f64 : isa == "avx2" ? avx2::f64 : baseline::f64;
}

using Sizes = std::vector<py::ssize_t>;

std::string named(const Sizes& sizes) {
  std::string text;
  for (const py::ssize_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + ")";
}

[[noreturn]] void refuse(const std::string& name, const std::string& rule, const std::string& got) {
  throw std::invalid_argument("`" + name + "` must be " + rule + "; got " + got + ".");
}

Sizes shape_of(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

bool usable(const py::array& array) {
  constexpr int kAligned = 0x0100;  // NPY_ARRAY_ALIGNED
  return (array.flags() & py::array::c_style) && (array.flags() & kAligned);
}

// An argument of a form: its name, and the array.
struct Slot {
  const char* name;
  const py::array& array;

  py::ssize_t size(int axis) const {
    if (axis >= array.ndim())
      refuse(name, "of " + std::to_string(axis + 1) + " or more axes", named(shape_of(array)));
    return array.shape(axis);
  }
  void check_shape(const Sizes& expected) const {
    if (shape_of(array) != expected) refuse(name, named(expected), named(shape_of(array)));
  }
  template <typename T>
  T* data(bool result) const {
    if (!array.dtype().is(py::dtype::of<T>()))
      refuse(name, "of the numbers of the others", py::str(py::object(array.dtype())));
    if (!usable(array)) refuse(name, "contiguous", "strides");
    if (result && !array.writeable()) refuse(name, "writeable: it is the result", "constants");
    return result ? static_cast<T*>(const_cast<py::array&>(array).mutable_data())
                  : static_cast<T*>(const_cast<void*>(array.data()));
  }
};

// Whole numbers from 0 to n - 1, one for each pair
const std::int64_t* indices(const Slot& slot, std::int64_t n_pairs, std::int64_t n) {
  slot.check_shape({n_pairs});
  const std::int64_t* found = slot.data<std::int64_t>(false);
  std::int64_t least = 0, most = -1;
  for (std::int64_t p = 0; p < n_pairs; ++p) {
    least = found[p] < least ? found[p] : least;
    most = found[p] > most ? found[p] : most;
  }
  if (least < 0 || most >= n)
    refuse(slot.name, "from 0 to " + std::to_string(n - 1),
           std::to_string(least < 0 ? least : most));
  return found;
}

// Call `run` with a number of the type that the first array holds
template <typename Run>
void by_type(const Slot& slot, Run run) {
  if (slot.array.dtype().is(py::dtype::of<float>())) return run(float{});
  if (slot.array.dtype().is(py::dtype::of<double>())) return run(double{});
  refuse(slot.name, "float32 or float64", py::str(py::object(slot.array.dtype())));
}

void check_slot(int slot, int most) {
  if (slot < 0 || slot > most)
    refuse("slot", "from 0 to " + std::to_string(most), std::to_string(slot));
}

// Derivative of a convolution by a slot; of the two fields, which are alike, by the latter.
void convolve(int slot, const py::array& idx_i, const py::array& idx_j, const py::array& envelope,
              const py::array& filters, const py::array& left, const py::array& right) {
  check_slot(slot, 3);
  if (slot == 2) refuse("slot", "0, 1 or 3", "2");
  const Slot e{"envelope", envelope}, f{"filters", filters}, l{"values", left}, r{"result", right};
  const Shape shape{e.size(0), l.size(1), l.size(2)};
  e.check_shape({shape.pairs});
  f.check_shape({shape.pairs, 3, shape.channels});
  l.check_shape({9, shape.points, shape.channels});
  r.check_shape({9, shape.points, shape.channels});
  const std::int64_t* i = indices({"idx_i", idx_i}, shape.pairs, shape.points);
  const std::int64_t* j = indices({"idx_j", idx_j}, shape.pairs, shape.points);
  by_type(e, [&](auto number) {
    using T = decltype(number);
    T *pe = e.data<T>(slot == 0), *pf = f.data<T>(slot == 1), *pl = l.data<T>(false),
      *pr = r.data<T>(slot == 3);
    const Table<T>& table = chosen<T>();
    (slot == 0   ? table.overlap(shape, i, j, pe, pf, pl, pr)
     : slot == 1 ? table.contract(shape, i, j, pe, pf, pl, pr)
                 : table.convolve(shape, i, j, pe, pf, pl, pr));
  });
}

void embed_pairs(int slot, const py::array& idx_i, const py::array& idx_j, const py::array& filters,
                 const py::array& harmonics, const py::array& species, const py::array& result) {
  check_slot(slot, 3);
  const Slot f{"filters", filters}, h{"harmonics", harmonics}, s{"species", species},
      r{"result", result};
  const Shape shape{f.size(0), r.size(1), r.size(2)};
  f.check_shape({shape.pairs, 3, shape.channels});
  h.check_shape({shape.pairs, 9});
  s.check_shape({2, shape.points, shape.channels});
  r.check_shape({9, shape.points, shape.channels});
  const std::int64_t* i = indices({"idx_i", idx_i}, shape.pairs, shape.points);
  const std::int64_t* j = indices({"idx_j", idx_j}, shape.pairs, shape.points);
  by_type(f, [&](auto number) {
    using T = decltype(number);
    T *pf = f.data<T>(slot == 0), *ph = h.data<T>(slot == 1), *ps = s.data<T>(slot == 2),
      *pr = r.data<T>(slot == 3);
    const Table<T>& table = chosen<T>();
    (slot == 0   ? table.embed_filters(shape, i, j, pf, ph, ps, pr)
     : slot == 1 ? table.embed_harmonics(shape, i, j, pf, ph, ps, pr)
     : slot == 2 ? table.embed_species(shape, i, j, pf, ph, ps, pr)
                 : table.embed_result(shape, i, j, pf, ph, ps, pr));
  });
}

void product(bool symmetric, int transposed, const py::array& x, const py::array& y,
             const py::array& result) {
  if (transposed < 0 || transposed > 2)
    refuse("transposed", "0, 1 or 2", std::to_string(transposed));
  const Slot a{"x", x}, b{"y", y}, r{"result", result};
  if (a.size(0) != 9) refuse("x", "of nine components", named(shape_of(x)));
  b.check_shape(shape_of(x));
  r.check_shape(shape_of(x));
  by_type(a, [&](auto number) {
    using T = decltype(number);
    chosen<T>().product(symmetric, transposed, x.size() / 9, a.data<T>(false), b.data<T>(false),
                        r.data<T>(true));
  });
}

void interpolate(int slot, const py::array& first, const py::array& weights, const py::array& nodes,
                 const py::array& result) {
  check_slot(slot, 2);
  const Slot w{"weights", weights}, n{"nodes", nodes}, r{"result", result};
  const Stencils sizes{w.size(0), w.size(1), n.size(1)};
  w.check_shape({sizes.pairs, sizes.width});
  n.check_shape({n.size(0), sizes.features});
  r.check_shape({sizes.pairs, sizes.features});
  if (sizes.width < 1)
    refuse("weights", "of one node or more for each pair", named(shape_of(weights)));
  const std::int64_t* at = indices({"first", first}, sizes.pairs, n.size(0) - sizes.width + 1);
  by_type(w, [&](auto number) {
    using T = decltype(number);
    T *pw = w.data<T>(slot == 0), *pn = n.data<T>(slot == 1), *pr = r.data<T>(slot == 2);
    const Table<T>& table = chosen<T>();
    (slot == 0   ? table.interpolate_weights(sizes, at, pw, pn, pr)
     : slot == 1 ? table.interpolate_nodes(sizes, at, pw, pn, pr)
                 : table.interpolate_result(sizes, at, pw, pn, pr));
  });
}

}  // namespace

PYBIND11_MODULE(_kernels, m) {
  m.doc() = "Compiled products of potentials.ops.kernels, of contiguous arrays.";
  m.attr("instruction_set") = instruction_set();
  m.attr("interface") = kInterface;
  m.def("convolve", &convolve);
  m.def("embed_pairs", &embed_pairs);
  m.def("product", &product);
  m.def("interpolate", &interpolate);
}
