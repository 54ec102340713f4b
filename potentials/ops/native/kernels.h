// Shapes, constants and the table of kernels that each instruction set fills.
#pragma once

struct Shape {
  long pairs, points, channels;
};

struct Stencils {
  long pairs, width, features;  // P, K, F
};

constexpr int kPart[9] = {0, 1, 1, 1, 2, 2, 2, 2, 2};        // filter of each component: I, A (3), S (5)
constexpr int kOdd[9] = {1, -1, -1, -1, 1, 1, 1, 1, 1};      // parity of each component under u -> -u

template <typename T>
struct Table {
  void (*convolve)(Shape, const long*, const long*, const T*, const T*, const T*, T*);
  void (*contract)(Shape, const long*, const long*, const T*, T*, const T*, const T*);
  void (*overlap)(Shape, const long*, const long*, T*, const T*, const T*, const T*);
  void (*embed_filters)(Shape, const long*, const long*, T*, const T*, const T*, const T*);
  void (*embed_harmonics)(Shape, const long*, const long*, const T*, T*, const T*, const T*);
  void (*embed_species)(Shape, const long*, const long*, const T*, const T*, T*, const T*);
  void (*embed_result)(Shape, const long*, const long*, const T*, const T*, const T*, T*);
  void (*product)(bool, int, long, const T*, const T*, T*);
  void (*interpolate_weights)(Stencils, const long*, T*, const T*, const T*);
  void (*interpolate_nodes)(Stencils, const long*, const T*, T*, const T*);
  void (*interpolate_result)(Stencils, const long*, const T*, const T*, T*);
};

#define DECLARE_TABLES(ISA)       \
  namespace ISA {                 \
  extern const Table<float> f32;  \
  extern const Table<double> f64; \
  }

DECLARE_TABLES(baseline)
DECLARE_TABLES(avx2)
DECLARE_TABLES(avx512)
