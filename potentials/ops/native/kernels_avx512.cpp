// The kernels compiled for: avx512.
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,fma,prefer-vector-width=512")
#endif
#include "kernels.h"

namespace avx512 {
#include "kernels_impl.inc"

extern const Table<float> f32 = table<float>();
extern const Table<double> f64 = table<double>();
}  // namespace avx512
