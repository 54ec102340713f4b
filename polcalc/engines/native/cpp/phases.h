// The phases of an evaluation, for one instruction set. A task is a phase on a block of atoms; between phases all wait.
//   0              embedding, and the first Y
//   1 … L          layer l = phase - 1: messages, product, update; then the next Y, or the read-out and the way back to dE/dM
//   L + 1 … 2L     layer l = 2L - phase: gradients through the messages; then the layer below, or the embedding and the pairs
// Where atoms attend to each other there are two more phases before each layer but the first, and two more on the way back after it.
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

#include "attention.h"
#include "layer.h"

template <typename T>
static void run_phase(const Context<T>& c, int phase, int block, int thread) {
  const Block<T> b(c, block, thread);
  const int steps = c.attends ? 3 : 1, last = (c.w->n_layers - 1) * steps + 1;  // the phase of the last layer
  if (phase == 0) return embed(b);
  const bool back = phase > last;
  const int place = back ? phase - last - 1 : phase + steps - 2, step = place % steps;
  const int layer = back ? c.w->n_layers - 1 - place / steps : place / steps;
  if (!back) {
    if (step == steps - 1)
      forward_layer(b, layer);
    else if (step == 1)
      attend(b, layer);
    else if (block == 0)
      gather(c, layer);
  } else {
    if (step == 0)
      backward_layer(b, layer);
    else if (step == 2) {
      describe_back(b, layer, b.scratch_a);
      layer_back<T>(b, layer - 1, b.scratch_a, b.scratch_b);
    } else if (block == 0)
      gather_back(b, layer);
  }
}

extern const Kernels<float> f32 = {2 * lanes<float>, run_phase<float>};
extern const Kernels<double> f64 = {2 * lanes<double>, run_phase<double>};
