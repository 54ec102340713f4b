"""Operations with a fast implementation each: products, splines, stencils; compiled code."""
