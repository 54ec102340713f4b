// Energy, forces and virial of one structure by a TensorNet whose distance-dependent parts are
// tables.
#pragma once

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "context.h"
#include "far.h"
#include "pool.h"

struct Model {
  int channels, n_layers, n_species, n_intervals, head;
  int n_heads, n_values;      // of the attention between layers, and of each head; 0: none
  bool one_sided, repulsion;  // SO(3); with the ZBL term
  bool charges, coulomb;      // read out; with their energy
  bool shells;                // shells that are read out as well
  bool electrons;             // shared out after the first layer
  bool costs;                 // energies of what is shared out
  bool dipoles;               // of atoms, read out
  bool polarizable;           // with polarizabilities of atoms
  bool hands_out_hidden;      // the hidden layer of the read-out
  int n_products;             // of charges that neighbours hand to each other; 0: these are no such
  bool polynomial;            // the envelope of these, else a cosine
  double max_displacement;    // of these, Å
  int references;             // of each element in the dispersion energy; 0: there is none
  double cutoff;              // Å
  double crowding;  // 1/Å, of tables of values and slopes at knots: these lie 1 + crowding · length
                    // times as far apart as at length 0
  std::vector<int> cells;  // of tables of cubics: how many each of so many equal parts of the
                           // cutoff has; empty: knots
  double scale, offset;    // eV: of the network's energies; added once per structure
  std::map<std::string, std::vector<double>> arrays;

  const double* at(const std::string& name) const { return arrays.at(name).data(); }
  void check_sizes() const;   // throws where the numbers above make no network
  void check_arrays() const;  // throws where an array is missing, unknown or of another size
};

// Name and size of every array of a Model whose numbers say what it holds
std::map<std::string, std::size_t> array_sizes(const Model&);

struct Axis {  // of an array: `parts` runs of `length`, each padded
  int length, parts;
  int size() const { return length * parts; }
  int wide() const { return static_cast<int>(padded(length)) * parts; }
  std::vector<int> places() const {
    std::vector<int> found;
    for (int part = 0; part < parts; ++part)
      for (int n = 0; n < length; ++n) found.push_back(part * static_cast<int>(padded(length)) + n);
    return found;
  }
};

struct Structure {
  std::int64_t n_atoms, n_pairs;
  const std::int64_t* species;  // (N) row in the tables of elements
  const std::int64_t* kinds;    // (N) row in the species table of the network
  const double* positions;      // (N, 3) Å
  const std::int64_t *idx_i, *idx_j;
  const double* shifts;   // (P, 3) Å, or null
  const double* factors;  // (L, N or 1, C or 1)
  std::int64_t factor_layers, factor_atoms, factor_channels;
  const std::int64_t* molecules;  // (N) whose atoms attend to each other, numbered from 0; null
                                  // where there is no attention
  const double* shared_out;  // (F) by each of them: |charge| + unpaired electrons; where it is 0
                             // there is no attention
  std::int64_t n_molecules;
  // What reaches beyond the cutoff acts within a system; null: all atoms are one, and open
  const std::int64_t* systems;  // (N) in ascending order
  const double* lattices;       // (systems, 3, 3) Å, zero where open; or null
  std::int64_t n_systems;
  // Charges and unpaired electrons add up over a part
  const std::int64_t* parts;                   // (N)
  const double *part_charges, *part_unpaired;  // e, and electrons
  std::int64_t n_parts;
  const double* fields;  // (systems, 3) V/Å, of open systems; or null
};

struct Answer {
  double* energies;  // (N) eV
  double* charges;   // (N) e, or null where there are none
  double *shells, *electrons;  // (N, 3) Å, (N); likewise
  double* shared;              // (4, N), formal charges, these before they are rounded, excess
                               // charges, unpaired electrons; likewise
  double* dipoles;             // (N, 3) e Å, of atoms; likewise
  double* roots;               // (N, 6), of their polarizabilities: polarizability.h; likewise
  double* hidden;              // (N, head), the hidden layer of the read-out; likewise
  double* forces;    // (N, 3) eV/Å, or null
  double* virial;    // (3, 3) eV, dE/dstrain, symmetric; with forces only
};

struct Seeds {  // of what is differentiated: Σ seed · what it belongs to; but for energies, or null
  const double* energies;                  // (N), one of each structure
  const double *charges, *shells, *electrons, *shared, *dipoles, *roots;  // as in
                                                                                 // an Answer
};

// Where an array of a name and size lies, of zeros, in the precision of the engine
using Place = std::function<void*(const std::string&, std::int64_t)>;

class AnyEngine {
 public:
  virtual ~AnyEngine() = default;
  virtual void evaluate(const Structure&, const Answer&) = 0;
  virtual void set_species(const double* table, std::int64_t n_kinds) = 0;  // (n_kinds, 2, C)
  virtual void set_array(const std::string& name, const double* data,
                         std::int64_t size) = 0;  // a new weight, of a name and size of the Model
  virtual void pack() = 0;                        // after the last of them
  // Gradients by the weights, in units of the network, summed over structures
  virtual void clear_gradients(std::int64_t factor_rows) = 0;
  virtual void add_gradients(
      const Structure&, const Seeds&,
      const Answer*) = 0;  // and answer, where no seed is zero and each structure has one
  virtual void gradients(const Place&) const = 0;
  virtual std::int64_t bytes() const = 0;
};

std::string best_instruction_set();
const FarKernels& far_kernels(const std::string& instruction_set);  // empty: the best
std::unique_ptr<AnyEngine> make_engine(const Model&, bool double_precision, int n_threads,
                                       const std::string& instruction_set);

// Memory at cache lines that grows and is kept.
template <typename T>
class Buffer {
 public:
  T* ensure(std::size_t n) {
    if (n > size_) {
      std::free(data_);
      size_ = n + n / 8;
      data_ = static_cast<T*>(std::aligned_alloc(64, (size_ * sizeof(T) + 63) / 64 * 64));
      if (!data_) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return data_;
  }
  T* get() const { return data_; }
  std::size_t bytes() const { return size_ * sizeof(T); }
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};
