// C = A B for tall narrow A (rows of atoms) and a packed B: register tiles of up to POLCALC_ROWS rows times two vectors.

template <typename T, int R>
static void tile(int inputs, const T* a, long lda, const T* b, T* c, long ldc) {
  constexpr int W = lanes<T>;
  Vec<T> sums[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = Vec<T>{};
  const T* rows[(R + 2) / 3];  // every third row: the two between are reached by scaled addressing
#pragma GCC unroll 16
  for (int g = 0; g < (R + 2) / 3; ++g) rows[g] = a + 3 * g * lda;
  for (int k = 0; k < inputs; ++k, b += 2 * W) {
    const Vec<T> left = load(b), right = load(b + W);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const T x = rows[r / 3][(r % 3) * lda + k];
      sums[r][0] += x * left;
      sums[r][1] += x * right;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    store(c + r * ldc, sums[r][0]);
    store(c + r * ldc + W, sums[r][1]);
  }
}

template <typename T>
using Tile = void (*)(int, const T*, long, const T*, T*, long);

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

template <typename T>
static inline void panel_product(int rows, int inputs, const T* a, long lda, const T* b, T* c, long ldc) {
  const int pieces = (rows + POLCALC_ROWS - 1) / POLCALC_ROWS;
  for (int p = 0, done = 0; p < pieces; ++p) {
    const int here = (rows - done) / (pieces - p);
    tile_of<T>(here)(inputs, a + done * lda, lda, b, c + done * ldc, ldc);
    done += here;
  }
}

// rows x inputs times inputs x outputs
template <typename T>
static void multiply(int rows, const T* a, const Matrix<T>& matrix, T* c) {
  constexpr int panel = 2 * lanes<T>;
  for (int n = 0; n < matrix.outputs; n += panel)
    panel_product<T>(rows, matrix.inputs, a, matrix.inputs, matrix.data + static_cast<long>(n) * matrix.inputs, c + n, matrix.outputs);
}

// Mix the channels of the nine components of a block, a matrix each for I, A and S; a panel serves its components in turn.
template <typename T>
static void mix(int rows, long component, const T* in, const Matrix<T>* matrices, T* out) {
  constexpr int panel = 2 * lanes<T>;
  const int width = matrices[0].inputs;
  for (int part = 0; part < 3; ++part)
    for (int n = 0; n < width; n += panel)
      for (int k = kFirst[part]; k < kFirst[part + 1]; ++k)
        panel_product<T>(rows, width, in + k * component, width, matrices[part].data + static_cast<long>(n) * width, out + k * component + n, width);
}
