// The kernels compiled for: avx2.
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#endif
#include "context.h"
#include "far.h"

#define POLCALC_BYTES 32  // of a vector
#define POLCALC_ROWS 6    // of a register tile
#define POLCALC_GROUP 2   // edges taken together
namespace avx2 {
#include "phases.inc"
}  // namespace avx2
