// The kernels compiled for: avx512.
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,fma,prefer-vector-width=512")
#endif
#include "context.h"
#include "far.h"

#define POLCALC_BYTES 64  // of a vector
#define POLCALC_ROWS 14   // of a register tile
#define POLCALC_GROUP 4   // edges taken together
namespace avx512 {
#include "phases.inc"
}  // namespace avx512
