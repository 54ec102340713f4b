// The kernels compiled for: avx2.
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#endif
#include "kernels.h"

namespace avx2 {
#include "kernels_impl.inc"

extern const Table<float> f32 = table<float>();
extern const Table<double> f64 = table<double>();
}  // namespace avx2
