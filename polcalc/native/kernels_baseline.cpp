// The kernels compiled for: baseline.
#include "context.h"

#define POLCALC_BYTES 16  // of a vector
#define POLCALC_ROWS 6    // of a register tile
#define POLCALC_GROUP 2    // edges taken together
namespace baseline {
#include "simd.h"
#include "gemm.h"
#include "tensors.h"
#include "phases.h"

extern const Kernels<float> f32 = {2 * lanes<float>, run_phase<float>};
extern const Kernels<double> f64 = {2 * lanes<double>, run_phase<double>};
}  // namespace baseline
