// Python module potentials.ops._kernels: plain functions on addresses of contiguous arrays; the instruction set is chosen at load.
#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <tuple>

#include "kernels.h"

namespace py = pybind11;
using Address = std::uintptr_t;
using Triple = std::tuple<Address, Address, Address>;
using Quad = std::tuple<Address, Address, Address, Address>;
using Sizes = std::tuple<long, long, long>;
using Pair = std::tuple<Address, Address>;

static std::string instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "baseline";
}

template <typename T>
static const Table<T>& chosen() {
  static const std::string isa = instruction_set();
  if constexpr (std::is_same_v<T, float>)
    return isa == "avx512" ? avx512::f32 : isa == "avx2" ? avx2::f32 : baseline::f32;
  else
    return isa == "avx512" ? avx512::f64 : isa == "avx2" ? avx2::f64 : baseline::f64;
}

template <typename T>
static T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

static Shape shape_of(const Sizes& s) { return {std::get<0>(s), std::get<1>(s), std::get<2>(s)}; }

// Which of the slots of a convolution is the result: 0 envelope, 1 filters, 3 values.
template <typename T>
static void run_convolve(int slot, const Sizes& s, const Pair& pairs, const Quad& a) {
  const Shape shape = shape_of(s);
  const long *i = at<long>(std::get<0>(pairs)), *j = at<long>(std::get<1>(pairs));
  T *envelope = at<T>(std::get<0>(a)), *filters = at<T>(std::get<1>(a)), *left = at<T>(std::get<2>(a)), *right = at<T>(std::get<3>(a));
  const Table<T>& table = chosen<T>();
  switch (slot) {
    case 0: return table.overlap(shape, i, j, envelope, filters, left, right);
    case 1: return table.contract(shape, i, j, envelope, filters, left, right);
    case 3: return table.convolve(shape, i, j, envelope, filters, left, right);
    default: throw std::invalid_argument("slot must be 0, 1 or 3");
  }
}

template <typename T>
static void run_embed(int slot, const Sizes& s, const Pair& pairs, const Quad& a) {
  const Shape shape = shape_of(s);
  const long *i = at<long>(std::get<0>(pairs)), *j = at<long>(std::get<1>(pairs));
  T *filters = at<T>(std::get<0>(a)), *harmonics = at<T>(std::get<1>(a)), *species = at<T>(std::get<2>(a)), *result = at<T>(std::get<3>(a));
  const Table<T>& table = chosen<T>();
  switch (slot) {
    case 0: return table.embed_filters(shape, i, j, filters, harmonics, species, result);
    case 1: return table.embed_harmonics(shape, i, j, filters, harmonics, species, result);
    case 2: return table.embed_species(shape, i, j, filters, harmonics, species, result);
    case 3: return table.embed_result(shape, i, j, filters, harmonics, species, result);
    default: throw std::invalid_argument("slot must be 0, 1, 2 or 3");
  }
}

template <typename T>
static void run_product(bool symmetric, int transposed, long n, const Triple& a) {
  chosen<T>().product(symmetric, transposed, n, at<T>(std::get<0>(a)), at<T>(std::get<1>(a)), at<T>(std::get<2>(a)));
}

template <typename T>
static void run_interpolate(int slot, const Sizes& s, Address first_of_pair, const Triple& a) {
  const Stencils sizes = {std::get<0>(s), std::get<1>(s), std::get<2>(s)};
  const long* first = at<long>(first_of_pair);
  T *weights = at<T>(std::get<0>(a)), *nodes = at<T>(std::get<1>(a)), *result = at<T>(std::get<2>(a));
  const Table<T>& table = chosen<T>();
  switch (slot) {
    case 0: return table.interpolate_weights(sizes, first, weights, nodes, result);
    case 1: return table.interpolate_nodes(sizes, first, weights, nodes, result);
    case 2: return table.interpolate_result(sizes, first, weights, nodes, result);
    default: throw std::invalid_argument("slot must be 0, 1 or 2");
  }
}

PYBIND11_MODULE(_kernels, m) {
  m.doc() = "Compiled products of potentials.ops.kernels, on addresses of contiguous arrays.";
  m.attr("instruction_set") = instruction_set();
  m.def("convolve", [](int slot, bool f64, const Sizes& s, const Pair& p, const Quad& a) {
    f64 ? run_convolve<double>(slot, s, p, a) : run_convolve<float>(slot, s, p, a);
  });
  m.def("embed_pairs",
        [](int slot, bool f64, const Sizes& s, const Pair& p, const Quad& a) { f64 ? run_embed<double>(slot, s, p, a) : run_embed<float>(slot, s, p, a); });
  m.def("product", [](bool f64, bool symmetric, int transposed, long n, const Triple& a) {
    f64 ? run_product<double>(symmetric, transposed, n, a) : run_product<float>(symmetric, transposed, n, a);
  });
  m.def("interpolate", [](int slot, bool f64, const Sizes& s, Address first, const Triple& a) {
    f64 ? run_interpolate<double>(slot, s, first, a) : run_interpolate<float>(slot, s, first, a);
  });
}
