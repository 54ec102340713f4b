// The polarizability of an atom, α = (m 1 + S)² + α_min, and its energy in an electric field; see
// potentials/terms/polarizability.py. In e, Å, V and eV.
#pragma once

constexpr int kRootNumbers = 6;      // m, and the components of S: xy, yz, zz, xz, xx - yy
constexpr double kInitialRoot = 0.25, kLeastPolarizability = 1e-3;  // √(e Å²/V), e Å²/V

// -½ F·α·F of an atom, and its gradient by the numbers of the root
inline double induced_energy(const double* numbers, const double* field, double* gradient) {
  constexpr double r2 = 0.70710678118654752, r6 = 0.40824829046386302;  // 1/√2, 1/√6
  const double xy = r2 * numbers[1], yz = r2 * numbers[2], zz = r6 * numbers[3],
               xz = r2 * numbers[4], xx_yy = r2 * numbers[5], m = numbers[0];
  const double root[3][3] = {
      {m + xx_yy - zz, xy, xz}, {xy, m - xx_yy - zz, yz}, {xz, yz, m + 2 * zz}};
  double u[3], squared = 0, field2 = 0, along = 0;  // root · F
  for (int a = 0; a < 3; ++a) {
    u[a] = root[a][0] * field[0] + root[a][1] * field[1] + root[a][2] * field[2];
    squared += u[a] * u[a];
    field2 += field[a] * field[a];
    along += u[a] * field[a];
  }
  const double cross[3] = {u[0] * field[1] + u[1] * field[0], u[1] * field[2] + u[2] * field[1],
                           u[0] * field[2] + u[2] * field[0]};
  gradient[0] = -along;
  gradient[1] = -r2 * cross[0];
  gradient[2] = -r2 * cross[1];
  gradient[3] = -r6 * (2 * u[2] * field[2] - u[0] * field[0] - u[1] * field[1]);
  gradient[4] = -r2 * cross[2];
  gradient[5] = -r2 * (u[0] * field[0] - u[1] * field[1]);
  return -0.5 * (squared + kLeastPolarizability * field2);
}
