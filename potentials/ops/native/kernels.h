// Shapes, constants and the table of kernels that each instruction set fills.
#pragma once

#include <cstdint>  // types alone, no code: this is compiled for each instruction set

struct Shape {
  std::int64_t pairs, points, channels;
};

struct Stencils {
  std::int64_t pairs, width, features;  // P, K, F
};

constexpr int kPart[9] = {0, 1, 1, 1, 2, 2, 2, 2, 2};  // filter of each component: I, A (3), S (5)
constexpr int kOdd[9] = {1, -1, -1, -1, 1, 1, 1, 1, 1};  // parity of each component under u -> -u

template <typename T>
struct Table {
  void (*convolve)(Shape, const std::int64_t*, const std::int64_t*, const T*, const T*, const T*,
                   T*);
  void (*contract)(Shape, const std::int64_t*, const std::int64_t*, const T*, T*, const T*,
                   const T*);
  void (*overlap)(Shape, const std::int64_t*, const std::int64_t*, T*, const T*, const T*,
                  const T*);
  void (*embed_filters)(Shape, const std::int64_t*, const std::int64_t*, T*, const T*, const T*,
                        const T*);
  void (*embed_harmonics)(Shape, const std::int64_t*, const std::int64_t*, const T*, T*, const T*,
                          const T*);
  void (*embed_species)(Shape, const std::int64_t*, const std::int64_t*, const T*, const T*, T*,
                        const T*);
  void (*embed_result)(Shape, const std::int64_t*, const std::int64_t*, const T*, const T*,
                       const T*, T*);
  void (*product)(bool, int, std::int64_t, const T*, const T*, T*);
  void (*interpolate_weights)(Stencils, const std::int64_t*, T*, const T*, const T*);
  void (*interpolate_nodes)(Stencils, const std::int64_t*, const T*, T*, const T*);
  void (*interpolate_result)(Stencils, const std::int64_t*, const T*, const T*, T*);
};

#define DECLARE_TABLES(ISA)       \
  namespace ISA {                 \
  extern const Table<float> f32;  \
  extern const Table<double> f64; \
  }

DECLARE_TABLES(baseline)
DECLARE_TABLES(avx2)
DECLARE_TABLES(avx512)
