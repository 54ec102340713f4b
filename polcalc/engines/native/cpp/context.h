// What the engine shares with the kernels of each instruction set: plain structs of pointers.
//
// Names: C channels, padded to `width`; a block is a group of neighbouring atoms that one task
// handles. Fields of nine components are stored as [atom][width / 16][component][16]: what a vector
// instruction needs of an atom lies together. Components: I (1), A (3), S (5) in the orthonormal
// basis of potentials/ops/kernels.py.
#pragma once

#include <cstdint>  // types alone, no code

constexpr int kPart[9] = {0, 1, 1, 1, 2, 2, 2, 2, 2};  // filter and mixing matrix of each component
constexpr int kFirst[4] = {0, 1, 4, 9};                // first component of each part
constexpr int kPad = 32;           // widths are multiples of it: two vectors of the widest kind
constexpr int kTile = 16;          // channels that lie together in tables and fields
constexpr int kCoefficients = 12;  // of a table entry: three parts, four powers
constexpr int kMaxLayers = 16;
constexpr int kMaxPhases = 63;     // of the pool
constexpr int kVectors = 2;        // that are read out of an atom: displacement of its shell, dipole

inline std::int64_t padded(std::int64_t n) { return (n + kPad - 1) / kPad * kPad; }

template <typename T>
struct Matrix {  // packed in panels of two vectors: [n / panel][k][panel]
  const T* data;
  int inputs, outputs;  // padded
};

template <typename T>
struct Edge {            // directed: message from j to the owner i
  std::int64_t node;     // offset of atom j in a field of nine components
  std::int64_t entry;    // offset of the table interval
  std::int64_t species;  // offset of the species row of j
  T t, t2, t3;           // position in the interval: t, 2t, 3t²
  T harmonics[8];        // of the direction from i to j, without the constant first one
};

struct Geometry {  // of a directed edge, float64
  double unit[3], length;
  double density;      // of the knots at this length, 1/Å
  double along;        // dE/dlength of the filters, in table intervals
  double gradient[3];  // dE/dvector in total
};

template <typename T>
struct LayerWeights {
  const T* table;      // [interval][width / 16][part][power][16]
  const T* self_loop;  // (3, width)
  const T* strength;   // (2, width): of charge and unpaired electrons of an atom in its factor
  Matrix<T> mix_in[3], mix_in_back[3], mix_out[3], mix_out_back[3];
};

template <typename T>
struct AttentionWeights {
  const T *norm_scale, *norm_shift;               // (3, width)
  const T *own_bias, *values_bias, *scores_bias;  // (width), (values), (scores)
  Matrix<T> own, own_back, values, values_back, scores, scores_back, common, common_back, output,
      output_back;
};

template <typename T>
struct Weights {
  int channels, width, hidden, head;  // C, and the padded sizes of C, 2C, C/2
  int n_heads, n_values;  // of the attention between layers, values of each head; no heads: none
  int values, scores, common;  // padded sizes of all values, of the heads, and of both together
  int n_layers;
  bool one_sided;      // SO(3): 2 Y M instead of a (Y M + M Y)
  const T* species;    // (S, 2, width): contribution of the receiving and of the sending atom
  const T* table;      // of the embedding
  const T* self_loop;  // (width): √3 f^I(0)
  const T *norm_scale, *norm_shift;           // (width)
  const T *gate_bias_1, *gate_bias_2;         // (hidden), (3, width)
  const T *read_scale, *read_shift;           // (3, width)
  const T *read_bias, *head_bias, *head_row;  // (width), (head), (head)
  T head_constant;
  bool charges;                        // whether charges are read out as well
  const T *charge_bias, *charge_row;   // (head)
  T charge_constant;
  Matrix<T> ends, ends_back;           // of the charges that neighbours hand to each other; or none
  const T* ends_bias;
  const T* vector_rows[kVectors];      // (width), of vectors that are read out; or null
  const T *root_bias, *root_row;       // (head), of roots of polarizabilities
  T root_constant;
  const T* tensor_row;                 // (width), of their tensors; null: there are none
  bool electrons;                      // whether they are shared out after the first layer
  const T *share_scale, *share_shift, *share_bias;  // (3, width), (width)
  Matrix<T> share_1, share_1_back, share_2, share_2_back, state_1, state_1_back, state_2,
      state_2_back;
  Matrix<T> mix[3], mix_back[3];
  Matrix<T> gate_1, gate_1_back, gate_2, gate_2_back, read, read_back, head_1, head_1_back,
      charge_1, charge_1_back, root_1, root_1_back;
  LayerWeights<T> layers[kMaxLayers];
  AttentionWeights<T> attention[kMaxLayers];  // before each layer but the first
};

// Gradients by the weights, in the layout of what they belong to; matrices (outputs, inputs),
// padded.
template <typename T>
struct LayerGradients {
  T *table, *self_loop, *strength, *factor;
  T *mix_in[3], *mix_out[3];
};

template <typename T>
struct AttentionGradients {
  T *norm_scale, *norm_shift, *own_bias, *values_bias, *scores_bias, *own, *values, *scores,
      *common, *output;
};

template <typename T>
struct Gradients {
  T *species, *table, *self_loop, *norm_scale, *norm_shift, *gate_bias_1, *gate_bias_2, *read_scale,
      *read_shift, *read_bias, *head_bias, *head_row, *head_constant, *charge_bias, *charge_row,
      *charge_constant, *root_bias, *root_row, *root_constant, *tensor_row, *ends_bias,
      *vector_rows[kVectors], *share_scale, *share_shift, *share_bias;
  T *mix[3], *gate_1, *gate_2, *read, *head_1, *charge_1, *root_1, *ends, *share_1, *share_2, *state_1,
      *state_2;
  LayerGradients<T> layers[kMaxLayers];
  AttentionGradients<T> attention[kMaxLayers];
};

template <typename T>
struct LayerFields {
  T *x, *y, *m, *c,
      *d;  // nine components: normalised, mixed, message, normalised product, its mixture
  T *x_scale, *c_scale;        // one: 1 / (‖·‖ + 1)
  T* factor;                   // state factor: rows of width
  std::int64_t factor_stride;  // 0 where all atoms share a row
};

template <typename T>
struct AttentionFields {
  T *standardised, *inverse_deviation;             // (3, width) of an atom; one
  T *own, *values, *scores;                        // of an atom
  T *hidden, *slopes, *added, *to_hidden;          // (width) of an atom
  T *exponents, *attended, *shared, *to_attended;  // of a molecule: ln Σ exp of the scores; values
                                                   // and exponents (common); (width); (common)
};

template <typename T>
struct ElectronFields {
  T* x;                                 // nine components, after the first layer
  T *standardised, *inverse_deviation;  // (3, width) of an atom; one
  T *hidden, *slopes;                   // (width) of an atom
  T *numbers, *to_numbers;              // (kPad): what an atom says, and what is asked of it
  T *known, *known_hidden, *known_slopes;  // (kPad): charge and unpaired electrons; (width)
  double* to_known;                        // (2): gradients by these
};

// What a phase does, for a layer; those of one thread are done by the engine or by the first block
enum Step {
  kEmbed,
  kLayer,        // messages, product, update; then the next Y, or the read-out and back to dE/dM
  kGather,       // before a layer: what a molecule attends to, and
  kAttend,       // what its atoms learn of it
  kShare,        // after the first layer, by one thread: charge and unpaired electrons
  kTell,         // what the atoms learn of these
  kSettle,       // by one thread: charges, and what is asked of them
  kFinish,       // what was left of the last layer
  kLayerBack,    // gradients through the messages; then the layer below, or embedding and pairs
  kGatherBack,
  kDescribeBack,
  kShareBack,
  kSayBack,
};
struct Phase {
  Step step;
  int layer;
};

template <typename T>
struct Context {
  const Weights<T>* w;
  bool gradients;     // any at all
  bool to_positions;  // those by positions
  const T* seeds;     // (N) weight of the energy of each atom in what is differentiated, or null: 1
  const Gradients<T>* training;   // where each thread adds gradients by the weights, or null
  int n_blocks, block_size;       // atoms per block, at most
  const int* block_start;         // (n_blocks + 1)
  const std::int64_t* species;    // (N) offset of the species row
  const std::int64_t* row_start;  // (N + 1) edges of each atom
  const Edge<T>* edges;
  Geometry* geometry;
  T *tensors, *mixed, *carried;  // nine components: before and after the first mixing; gradient
                                 // kept across a barrier
  T *gates, *gate_slopes;        // three components
  T* hidden_slopes;              // (atoms, hidden)
  T* hidden_values;              // (atoms, hidden), in training alone
  T *standardised, *inverse_deviation;  // one component; (atoms)
  double* energies;                     // (N), network units
  double* hidden;                       // (N, head), of the read-out, or null
  double* charges;                      // (N), as they are read out
  T* ends;                              // (N), of charges that are handed over
  double* vectors[kVectors];            // (N, 3)
  double *root_means, *root_tensors;    // (N), (N, 5): of roots of polarizabilities
  const T *to_charges, *to_ends, *to_vectors[kVectors];  // gradients by these
  const T *to_means, *to_tensors;                        // likewise, or null
  void (*together)(void*, Step);  // what one thread does for all atoms, of its argument
  void* engine;
  const Phase* phases;
  const int* atoms;               // (N) as they were given
  std::int64_t given_stride;      // of the state factors as they were given
  T* scratch;                           // per thread
  std::int64_t scratch_size;            // of one thread
  LayerFields<T> layers[kMaxLayers];
  bool attends;                      // whether any atoms attend to each other between the layers
  const std::int64_t* molecules;     // (N) that attend, or -1; and the atoms of each of them
  const std::int64_t* member_start;  // (molecules + 1)
  const int* members;
  const double* shared_out;  // (molecules)
  int n_molecules;
  AttentionFields<T> attention[kMaxLayers];
  ElectronFields<T> electrons;
};

template <typename T>
struct Kernels {
  int panel;  // columns of a packed panel
  void (*run)(const Context<T>&, int phase, int block, int thread);
};

// The widest row of an atom
template <typename T>
std::int64_t widest(const Weights<T>& w) {
  std::int64_t found = 3LL * w.width;
  if (w.hidden > found) found = w.hidden;
  if (2 * w.head > found) found = 2 * w.head;  // values and slopes of the read-out, side by side
  if (w.values + w.scores > found) found = w.values + w.scores;
  if (w.ends.outputs > found) found = w.ends.outputs;
  return found;
}

// Elements of scratch that one thread needs: two fields, and four rows of the widest kind for each
// atom.
template <typename T>
std::int64_t scratch_elements(const Weights<T>& w, int block_size) {
  return (2LL * 9 * w.width + 4LL * widest(w)) * block_size;
}

#define DECLARE_KERNELS(ISA)        \
  namespace ISA {                   \
  extern const Kernels<float> f32;  \
  extern const Kernels<double> f64; \
  }

DECLARE_KERNELS(baseline)
DECLARE_KERNELS(avx2)
DECLARE_KERNELS(avx512)
