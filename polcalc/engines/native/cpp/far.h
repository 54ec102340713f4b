// What reaches beyond the network, as the kernels of each instruction set see it: plain structs of
// pointers, float64, lengths in Å.
//
// A row is one point and the runs of those that act on it, all of one element: points lie in order
// of elements, so that what depends on two elements is a number. Every pair is met twice, once from
// each side, and a row needs nothing of the others.
#pragma once

#include <cstdint>

struct Run {
  std::int64_t begin, end;
};

struct FarPoints {  // readable a vector beyond the last
  const double *x, *y, *z;
};

struct FarRow {
  double place[3];
  std::int64_t itself;  // where it is among the points, or -1
  const Run* runs;
  int n_runs;
};

struct FarSums {
  double value, other;  // what a kernel says
  double gradient[3];   // by the vectors from the point to the others
  double virial[6];     // gradient times vector: xx, xy, xz, yy, yz, zz
};

struct FarSwitch {
  double cutoff, width;  // over the width before it, 1 goes to 0
};

struct FarPair {           // of two elements, in atomic units but for the length
  double per_bohr, s6, s8;  // s8 times C8 / C6
  double radius_6, radius_8;
  int n_references;
  const double *own, *own_slopes;  // Σ_a w_a C6_ab, and its slope by the count
  const double* weights;           // w_b of the points, one row of `stride` for each b
  std::int64_t stride;
};

struct FarWaves {  // of two numbers, and the third from `lowest` on; sites padded to vectors
  std::int64_t n_sites;
  const double* charges;
  const double *x[2], *y[2], *z[2], *step[2];  // cos and sin of what the numbers say, and of one
  double sign[3];                              // of the numbers
  int numbers[2], lowest, n_waves;
  const double* strengths;
  double* first[2];  // room for as many as there are sites
  double *sums, *factors;  // room for two vectors, and two numbers, for each wave
  double* to[4];           // adds potential, and turns times each of the numbers
};

struct FarKernels {
  int lanes;
  // potential, and Σ q ∂(erf(rate r) / r)/∂rate; erf(screening r) / r is left out
  void (*coulomb)(const FarRow&, const FarPoints&, const double* charges, double rate,
                  double screening, FarSums&);
  double (*count)(const FarRow&, const FarPoints&, const FarSwitch&, double bond);
  void (*count_back)(const FarRow&, const FarPoints&, const FarSwitch&, double bond,
                     const double* to_counts, double to_count, FarSums&);
  // energy, and its slope by the count of the point
  void (*attract)(const FarRow&, const FarPoints&, const FarSwitch&, const FarPair&, FarSums&);
  void (*plane_waves)(const FarWaves&);
};

namespace baseline {
extern const FarKernels far;
}
namespace avx2 {
extern const FarKernels far;
}
namespace avx512 {
extern const FarKernels far;
}
