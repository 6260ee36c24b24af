"""Quantiles of a predictive distribution: levels, moments, pinball loss, CRPS, conformal shifts."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Levels of every quantile head; symmetric, so that all but the median form intervals."""
MIDDLE = LEVELS.index(0.5)
NAMES = tuple(f"p{round(100 * level):02d}" for level in LEVELS)

_EDGES = np.concatenate([[0.0], (np.array(LEVELS[1:]) + np.array(LEVELS[:-1])) / 2, [1.0]])
WEIGHTS = tuple(np.diff(_EDGES).tolist())
"""Probability of each quantile's step: halfway to its neighbours, and the tails at the ends."""


_TAIL = (0.001, 0.01)
"""Levels below the first that divide the integral over a tail, which is steepest at its end."""
_NODES = 6


def _normal_spread() -> float:
    """Standard deviation of the quantiles of a standard normal distribution under `WEIGHTS`."""
    scores, weights = ndtri(LEVELS), np.array(WEIGHTS)
    return float(np.sqrt(weights @ scores**2 - (weights @ scores) ** 2))


_NORMAL_SPREAD = _normal_spread()


def moments(quantiles: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [...] of distributions with these quantiles [..., Q].

    They are those of a step distribution with the probability `WEIGHTS` at each quantile. Its
    standard deviation is multiplied by the number that makes it exact for normal distributions,
    whose tails the steps cut off.
    """
    weights = torch.tensor(WEIGHTS, dtype=quantiles.dtype, device=quantiles.device)
    mean = (quantiles * weights).sum(-1)
    square = ((quantiles - mean[..., None]).square() * weights).sum(-1)
    return mean, square.sqrt() / _NORMAL_SPREAD


def pinball(quantiles: Any, observed: Any) -> Any:
    """Pinball loss [..., Q] of quantiles [..., Q] for `observed` [...], tensors or arrays.

    It is level · error above the quantile, (1 − level) · error below (Koenker and Bassett 1978).
    """
    error = observed[..., None] - quantiles
    if isinstance(error, Tensor):
        levels = torch.tensor(LEVELS, dtype=error.dtype, device=error.device)
        return torch.maximum(levels * error, (levels - 1.0) * error)
    return np.maximum(np.array(LEVELS) * error, (np.array(LEVELS) - 1.0) * error)


def quantile_crps(observed: Any, quantiles: Any) -> NDArray[Any]:
    """Continuous ranked probability score [...] of distributions with quantiles [..., Q], in the
    target's units.

    It is twice the pinball loss integrated over all levels (Gneiting and Ranjan 2011). Between and
    beyond `LEVELS` the quantiles are linear in those of the normal distribution: the score of a
    normal distribution is that of `metrics.gaussian_crps`, so that heads of both kinds can be
    compared.
    """
    known, truth = np.asarray(quantiles, np.float64), np.asarray(observed, np.float64)
    slopes = np.diff(known) / np.diff(ndtri(LEVELS))
    crps = np.zeros(np.broadcast_shapes(known.shape[:-1], truth.shape))
    for level, score, weight in zip(*_nodes(), strict=True):
        k = min(max(int(np.searchsorted(LEVELS, level)) - 1, 0), len(LEVELS) - 2)
        error = truth - (known[..., k] + slopes[..., k] * (score - ndtri(LEVELS[k])))
        crps += 2 * weight * np.maximum(level * error, (level - 1) * error)
    return crps


@cache
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Levels, their normal scores and quadrature weights of the integral over 0 to 1."""
    edges = np.array([0.0, *_TAIL, *LEVELS, *(1 - np.array(_TAIL[::-1])), 1.0])
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    width = np.diff(edges)[:, None]
    levels = (edges[:-1, None] + width * (nodes + 1) / 2).ravel()
    return levels, ndtri(levels), (width * weights / 2).ravel()


def conformal_shift(quantiles: NDArray[Any], observed: NDArray[Any]) -> NDArray[np.float64]:
    """Shifts [Q] that make the intervals of quantiles [N, Q] hold the fraction of `observed` [N]
    that their levels state.

    This is conformalised quantile regression (Romano et al. 2019); the values must not have been
    trained on. The median is not shifted.
    """
    shift = np.zeros(len(LEVELS))
    for low in range(MIDDLE):
        high = len(LEVELS) - 1 - low
        outside = np.maximum(quantiles[:, low] - observed, observed - quantiles[:, high])
        level = min(1.0, (LEVELS[high] - LEVELS[low]) * (1 + 1 / len(observed)))
        width = float(np.quantile(outside, level, method="higher"))
        shift[low], shift[high] = -width, width
    return shift


def shifted(quantiles: Tensor, shift: Tensor) -> Tensor:
    """Quantiles [..., O, Q] plus `shift` [O, Q], still in ascending order.

    An interval shrinks at most to the next one inside, and the innermost to the median.
    """
    moved = quantiles + shift
    middle = moved[..., MIDDLE : MIDDLE + 1]
    below = torch.minimum(moved[..., : MIDDLE + 1], middle).flip(-1).cummin(-1).values.flip(-1)
    above = torch.maximum(moved[..., MIDDLE:], middle).cummax(-1).values
    return torch.cat([below[..., :-1], above], -1)
