"""Factors of what a read-out is unsure of: the posterior, and a fit of it to errors.

Sizes in comments: K the numbers of a row, the hidden layer and a one; R rows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RIDGE = 1e-4  # of the mean square of each number: how unsure of what no structure ever showed
N_DIRECTIONS = 8  # that a fit may be less sure of than the posterior is: K more change nothing
N_ITERATIONS = 200
MOST_ROWS = 40_000  # of a fit


def posterior(rows: Floats) -> Floats:
    """Factor the covariance of the last layer's weights: L (K, K) with L Lᵀ = (mean x xᵀ)⁻¹.

    Parameters
    ----------
    rows : (R, K)   of structures to train on, or of their atoms
    """
    size = np.sqrt((rows**2).mean(0))
    size = np.maximum(size, 1e-6 * size.max())
    scaled = rows / size
    covariance = scaled.T @ scaled / len(rows) + RIDGE * np.eye(len(size))
    factor: Floats = np.linalg.cholesky(np.linalg.inv(covariance)) / size[:, None]
    return factor


def fitted(factor: Floats, rows: Floats, errors: Floats, seed: int = 0) -> Floats:
    """Stretch a posterior along few directions, by the likelihood of errors of new molecules.

    As many read-outs on the same features as there are directions would spread alike. What is
    added to the posterior can only grow, so that nothing unknown becomes certain.

    Parameters
    ----------
    factor : (K, K)   of the posterior
    rows : (R, K)
    errors : (R,)     sizes of errors, exponentially distributed with the length of a row times the
                      factor as their mean
    """
    if len(rows) > MOST_ROWS:
        chosen = np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False)
        rows, errors = rows[chosen], errors[chosen]
    x, error = torch.from_numpy(rows @ factor), torch.from_numpy(errors)
    squares = (x**2).sum(1)
    usual = float((error / squares.sqrt()).mean())
    generator = torch.Generator().manual_seed(seed)
    added = usual * 0.1 * torch.randn(len(factor), N_DIRECTIONS, generator=generator).double()
    of_all = torch.tensor(2 * np.log(usual), dtype=torch.float64)
    parameters = [added.requires_grad_(), of_all.requires_grad_()]
    optimizer = torch.optim.LBFGS(parameters, max_iter=N_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        mean = ((x @ added).pow(2).sum(1) + of_all.exp() * squares).sqrt()
        value = (mean.log() + error / mean).mean()
        value.backward()
        return value

    optimizer.step(loss)
    b = added.detach().numpy()
    whole = b @ b.T + float(of_all.detach().exp()) * np.eye(len(factor))
    stretched: Floats = factor @ np.linalg.cholesky(whole)
    return stretched
