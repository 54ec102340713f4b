// Python module potentials._kernels: plain functions on addresses of contiguous arrays; the instruction set is chosen at load.
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

template <typename T>
static void run_convolve(const Sizes& s, const Pair& pairs, const Triple& a) {
  chosen<T>().convolve(shape_of(s), at<long>(std::get<0>(pairs)), at<long>(std::get<1>(pairs)), at<T>(std::get<0>(a)), at<T>(std::get<1>(a)),
                       at<T>(std::get<2>(a)));
}

template <typename T>
static void run_contract(const Sizes& s, const Pair& pairs, const Triple& a) {
  chosen<T>().contract(shape_of(s), at<long>(std::get<0>(pairs)), at<long>(std::get<1>(pairs)), at<T>(std::get<0>(a)), at<T>(std::get<1>(a)),
                       at<T>(std::get<2>(a)));
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

PYBIND11_MODULE(_kernels, m) {
  m.doc() = "Compiled products of potentials.kernels, on addresses of contiguous arrays.";
  m.attr("instruction_set") = instruction_set();
  m.def("convolve", [](bool f64, const Sizes& s, const Pair& p, const Triple& a) { f64 ? run_convolve<double>(s, p, a) : run_convolve<float>(s, p, a); });
  m.def("contract", [](bool f64, const Sizes& s, const Pair& p, const Triple& a) { f64 ? run_contract<double>(s, p, a) : run_contract<float>(s, p, a); });
  m.def("embed_pairs",
        [](int slot, bool f64, const Sizes& s, const Pair& p, const Quad& a) { f64 ? run_embed<double>(slot, s, p, a) : run_embed<float>(slot, s, p, a); });
  m.def("product", [](bool f64, bool symmetric, int transposed, long n, const Triple& a) {
    f64 ? run_product<double>(symmetric, transposed, n, a) : run_product<float>(symmetric, transposed, n, a);
  });
}
