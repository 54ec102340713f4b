// The kernels compiled for: baseline.
#include "context.h"
#include "far.h"

#define POLCALC_BYTES 16  // of a vector
#define POLCALC_ROWS 6    // of a register tile
#define POLCALC_GROUP 2   // edges taken together
namespace baseline {
#include "phases.inc"
}  // namespace baseline
