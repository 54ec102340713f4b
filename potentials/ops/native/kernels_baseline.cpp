// The kernels compiled for: baseline.

#include "kernels.h"

namespace baseline {
#include "kernels_impl.inc"

extern const Table<float> f32 = table<float>();
extern const Table<double> f64 = table<double>();
}  // namespace baseline
