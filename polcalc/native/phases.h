// The phases of an evaluation, for one instruction set. A task is a phase on a block of atoms; between phases all wait.
//   0              embedding, and the first Y
//   1 … L          layer l = phase - 1: messages, product, update; then the next Y, or the read-out and the way back to dE/dM
//   L + 1 … 2L     layer l = 2L - phase: gradients through the messages; then the layer below, or the embedding and the pairs
//
// Included after a target pragma, inside a namespace of its own. These headers include nothing: code of the standard library
// compiled here could be picked by the linker for all, and fail on a processor without these instructions.

#include "simd.h"

#include "gemm.h"
#include "tensors.h"

#include "block.h"
#include "outer.h"

template <typename T>
static void layer_back(const Block<T>& b, int layer, const T* grad, T* other);

#include "embedding.h"
#include "readout.h"

#include "layer.h"

template <typename T>
static void run_phase(const Context<T>& c, int phase, int block, int thread) {
  const Block<T> b(c, block, thread);
  const int n_layers = c.w->n_layers;
  if (phase == 0)
    embed(b);
  else if (phase <= n_layers)
    forward_layer(b, phase - 1);
  else
    backward_layer(b, 2 * n_layers - phase);
}

extern const Kernels<float> f32 = {2 * lanes<float>, run_phase<float>};
extern const Kernels<double> f64 = {2 * lanes<double>, run_phase<double>};
