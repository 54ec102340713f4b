// C = A B for tall narrow A (rows of atoms) and a packed B: register tiles of up to POLCALC_ROWS rows times two vectors.
// Of a row, every kTile numbers lie together; the next kTile follow at a distance, `step`.

template <typename T>
struct Rows {
  T* data;
  long stride, step;
};

template <typename T, int R>
static void tile(int inputs, Rows<const T> a, const T* b, Rows<T> c) {
  constexpr int W = lanes<T>;
  Vec<T> sums[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = Vec<T>{};
  const T* rows[(R + 2) / 3];  // every third row: the two between are reached by scaled addressing
#pragma GCC unroll 16
  for (int g = 0; g < (R + 2) / 3; ++g) rows[g] = a.data + 3 * g * a.stride;
  for (long start = 0; inputs > 0; inputs -= kTile, start += a.step)
    for (long k = start; k < start + kTile; ++k, b += 2 * W) {
      const Vec<T> left = load(b), right = load(b + W);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const T x = rows[r / 3][(r % 3) * a.stride + k];
        sums[r][0] += x * left;
        sums[r][1] += x * right;
      }
    }
  const long second = W < kTile ? W : c.step;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    store(c.data + r * c.stride, sums[r][0]);
    store(c.data + r * c.stride + second, sums[r][1]);
  }
}

template <typename T>
using Tile = void (*)(int, Rows<const T>, const T*, Rows<T>);

template <typename T>
static inline Tile<T> tile_of(int rows) {
  static constexpr Tile<T> tiles[15] = {nullptr,     tile<T, 1>,  tile<T, 2>,  tile<T, 3>,  tile<T, 4>,
                                        tile<T, 5>,  tile<T, 6>,
#if POLCALC_ROWS > 6
                                        tile<T, 7>,  tile<T, 8>,  tile<T, 9>,  tile<T, 10>, tile<T, 11>, tile<T, 12>, tile<T, 13>, tile<T, 14>
#endif
  };
  return tiles[rows];
}

// All rows, one panel of columns starting at column n
template <typename T>
static inline void panel_product(int rows, const Matrix<T>& matrix, int n, Rows<const T> a, Rows<T> c) {
  const T* panel = matrix.data + static_cast<long>(n) * matrix.inputs;
  c.data += n / kTile * c.step + n % kTile;
  for (int pieces = (rows + POLCALC_ROWS - 1) / POLCALC_ROWS; pieces > 0; --pieces) {
    const int here = rows / pieces;
    tile_of<T>(here)(matrix.inputs, a, panel, c);
    a.data += here * a.stride;
    c.data += here * c.stride;
    rows -= here;
  }
}

// (rows, inputs) times (inputs, outputs)
template <typename T>
static void multiply(int rows, const T* a, const Matrix<T>& matrix, T* c) {
  for (int n = 0; n < matrix.outputs; n += 2 * lanes<T>) panel_product<T>(rows, matrix, n, {a, matrix.inputs, kTile}, {c, matrix.outputs, kTile});
}

// Mix the channels of a field of nine components, a matrix each for I, A and S; a panel serves its components in turn.
template <typename T>
static void mix(int rows, const T* in, const Matrix<T>* matrices, T* out) {
  const long atom = 9L * matrices[0].inputs;
  for (int part = 0; part < 3; ++part)
    for (int n = 0; n < matrices[part].outputs; n += 2 * lanes<T>)
      for (int k = kFirst[part]; k < kFirst[part + 1]; ++k)
        panel_product<T>(rows, matrices[part], n, {in + k * kTile, atom, 9 * kTile}, {out + k * kTile, atom, 9 * kTile});
}
