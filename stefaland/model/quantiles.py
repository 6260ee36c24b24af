"""Quantiles of a predictive distribution: levels, moments, pinball loss, CRPS, conformal shifts.

Downstream: heads.py predicts them, losses.py trains them, target.py calibrates them, predict.py and
the score stage use them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Of every quantile head; symmetric, so that each but the median has a partner."""
MIDDLE = LEVELS.index(0.5)
NAMES = tuple(f"p{round(100 * level):02d}" for level in LEVELS)

_EDGES = np.concatenate([[0.0], (np.array(LEVELS[1:]) + np.array(LEVELS[:-1])) / 2, [1.0]])
WEIGHTS = tuple(np.diff(_EDGES).tolist())
"""Probability that each quantile stands for: halfway to its neighbours, the tails at the ends."""


_TAIL = (0.001, 0.01)
"""Levels below the first at which the integral over the tail is cut: it is steepest at its end."""
_NODES = 6


def _normal_spread() -> float:
    """Standard deviation of a standard normal distribution's quantiles under `WEIGHTS`."""
    scores, weights = ndtri(LEVELS), np.array(WEIGHTS)
    return float(np.sqrt(weights @ scores**2 - (weights @ scores) ** 2))


_NORMAL_SPREAD = _normal_spread()


def moments(quantiles: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [...] of distributions with these quantiles [..., Q].

    The mean of the step distribution that puts each level's share at its quantile; its standard
    deviation times the number that makes it exact for normal distributions, whose tails the steps
    cut off.
    """
    weights = torch.tensor(WEIGHTS, dtype=quantiles.dtype, device=quantiles.device)
    mean = (quantiles * weights).sum(-1)
    square = ((quantiles - mean[..., None]).square() * weights).sum(-1)
    return mean, square.sqrt() / _NORMAL_SPREAD


def pinball(quantiles: Any, observed: Any) -> Any:
    """[..., Q] loss of each quantile of `observed` [...], tensors or arrays: level · error above,
    (1 − level) · error below (Koenker and Bassett 1978).
    """
    error = observed[..., None] - quantiles
    if isinstance(error, Tensor):
        levels = torch.tensor(LEVELS, dtype=error.dtype, device=error.device)
        return torch.maximum(levels * error, (levels - 1.0) * error)
    return np.maximum(np.array(LEVELS) * error, (np.array(LEVELS) - 1.0) * error)


def quantile_crps(observed: Any, quantiles: Any) -> NDArray[Any]:
    """[...] continuous ranked probability score of distributions known by their quantiles [..., Q],
    in the target's units.

    Twice the pinball loss integrated over all levels (Gneiting and Ranjan 2011). Between and beyond
    `LEVELS` the quantiles follow a straight line over the normal distribution's: the score of a
    normal distribution is that of `metrics.gaussian_crps`, so heads of both kinds can be compared.
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
    """Levels, their normal scores and weights that integrate over 0..1, piece by piece."""
    edges = np.array([0.0, *_TAIL, *LEVELS, *(1 - np.array(_TAIL[::-1])), 1.0])
    places, weights = np.polynomial.legendre.leggauss(_NODES)
    width = np.diff(edges)[:, None]
    levels = (edges[:-1, None] + width * (places + 1) / 2).ravel()
    return levels, ndtri(levels), (width * weights / 2).ravel()


def conformal_shift(quantiles: NDArray[Any], observed: NDArray[Any]) -> NDArray[np.float64]:
    """[Q] what to add to quantiles [N, Q] for each pair's interval to hold its share of `observed`
    [N]: conformalised quantile regression (Romano et al. 2019) on values that trained nothing.

    The median stays.
    """
    shift = np.zeros(len(LEVELS))
    for low in range(MIDDLE):
        high = len(LEVELS) - 1 - low
        outside = np.maximum(quantiles[:, low] - observed, observed - quantiles[:, high])
        share = min(1.0, (LEVELS[high] - LEVELS[low]) * (1 + 1 / len(observed)))
        width = float(np.quantile(outside, share, method="higher"))
        shift[low], shift[high] = -width, width
    return shift


def shifted(quantiles: Tensor, shift: Tensor) -> Tensor:
    """Quantiles [..., O, Q] moved by `shift` [O, Q], in order still.

    An interval that shrinks stops at the next one inside, at last at the median.
    """
    moved = quantiles + shift
    middle = moved[..., MIDDLE : MIDDLE + 1]
    below = torch.minimum(moved[..., : MIDDLE + 1], middle).flip(-1).cummin(-1).values.flip(-1)
    above = torch.maximum(moved[..., MIDDLE:], middle).cummax(-1).values
    return torch.cat([below[..., :-1], above], -1)
