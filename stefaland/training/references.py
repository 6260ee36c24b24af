"""Simple reconstructions that a pretrained encoder must beat, judged on the same hidden values.

They are fitted to windows of training cells: the mean seasonal cycle, harmonics of the window's own
visible values, and the conditional mean of a multivariate normal distribution, which is the linear
regression on all visible values of the same day (forcings) or of the same site (static attributes
and the means of the forcings).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stefaland.data.batch import Batch

Array = NDArray[np.float64]
HARMONICS = 2
SHRINKAGE = 1e-3
"""Fraction of a variance that is added to it, so that covariances can be inverted."""
SITE_SHRINKAGES = (1e-3, 1e-2, 0.1, 1.0)
"""Fractions tried for static attributes: there are many of them for the number of sites."""
PARTS = 5
"""Number of parts of the sites; each is predicted from the others to choose the fraction."""
PATTERNS = 16
OWN_PENALTY = 5.0
"""Penalty of a window's own harmonics, as so many days on which they are zero."""


@dataclass(frozen=True)
class Gaussian:
    """A multivariate normal distribution, whose conditional mean predicts what is missing."""

    mean: Array
    """Means [P]."""
    covariance: Array
    """Covariances [P, P], positive definite."""

    @classmethod
    def fit(cls, values: Array, shrinkage: float = SHRINKAGE) -> Gaussian:
        """The distribution of rows [n, P], of pairs of values that are both there."""
        known = np.isfinite(values)
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, values, 0.0).sum(0) / count
        centred = np.where(known, values - mean, 0.0)
        pairs = np.maximum(known.T.astype(float) @ known, 1.0)
        covariance = centred.T @ centred / pairs
        # Covariances of different pairs of rows need not fit together: no variance below 0.
        scale, vectors = np.linalg.eigh(covariance)
        covariance = (vectors * np.maximum(scale, 0.0)) @ vectors.T
        covariance += np.diag(shrinkage * np.maximum(np.diag(covariance), SHRINKAGE))
        return cls(mean, covariance)

    @classmethod
    def fit_shrunk(cls, values: Array, part: NDArray[np.int64]) -> Gaussian:
        """The distribution of rows [n, P] with the shrinkage that predicts other rows best.

        Each part of the rows is predicted from the others, a random half of its values from the
        other half; `part` [n] are numbers of parts.
        """
        rng = np.random.default_rng(0)
        # A few patterns of hidden values for all rows: each pattern solves its own equations.
        hidden = (rng.random((PATTERNS, values.shape[1])) < 0.5)[
            rng.integers(0, PATTERNS, len(values))
        ]
        shown = np.where(hidden, np.nan, values)

        def error(shrinkage: float) -> float:
            gaps = []
            for number in np.unique(part):
                held = part == number
                fitted = cls.fit(values[~held], shrinkage)
                gaps.append((fitted.filled(shown[held]) - values[held])[hidden[held]])
            return float(np.nanmean(np.square(np.concatenate(gaps))))

        several = len(np.unique(part)) > 1
        return cls.fit(values, min(SITE_SHRINKAGES, key=error) if several else SHRINKAGE)

    def filled(self, values: Array) -> Array:
        """The rows [n, P] with the conditional mean where a value is missing.

        >>> line = Gaussian(np.zeros(2), np.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> line.filled(np.array([[2.0, np.nan]])).tolist()
        [[2.0, 1.0]]
        """
        filled = values.copy()
        missing = ~np.isfinite(values)
        patterns, which = np.unique(missing, axis=0, return_inverse=True)
        for number, gone in enumerate(patterns):
            rows = np.flatnonzero(which.ravel() == number)
            seen = ~gone
            within = self.covariance[np.ix_(seen, seen)]
            weights = np.linalg.solve(within, self.covariance[np.ix_(seen, gone)])
            offset = values[np.ix_(rows, seen)] - self.mean[seen]
            filled[np.ix_(rows, gone)] = self.mean[gone] + offset @ weights
        return filled


@dataclass(frozen=True)
class References:
    """The fitted references; all values are normalised."""

    cycle: Array
    """Coefficients [2 H + 1, F] of the mean seasonal cycle of each forcing."""
    day: Gaussian
    """Distribution of the forcings and the season of a day."""
    site: Gaussian
    """Distribution of the numeric static attributes and a window's means of the forcings."""

    @classmethod
    def fit(cls, batches: Iterable[Batch]) -> References:
        """The references of windows of training cells."""
        forcings, seasons, statics, means = [], [], [], []
        for batch in batches:
            forcings.append(_flat(batch.forcings))
            seasons.append(_flat(_season(batch)))
            statics.append(_array(batch.statics))
            means.append(_array(batch.forcings.nanmean(1)))
        values, season = np.concatenate(forcings), np.concatenate(seasons)
        cycle = [_regressed(column, season) for column in values.T]
        per_site = np.concatenate([np.concatenate(statics), np.concatenate(means)], 1)
        # Windows of a site have the same attributes. A row with NaN would differ from all others.
        known = np.nan_to_num(per_site[:, : statics[0].shape[1]])
        _, site = np.unique(known, axis=0, return_inverse=True)
        return cls(
            np.stack(cycle, 1), Gaussian.fit(np.concatenate([values, season[:, 1:]], 1)),
            Gaussian.fit_shrunk(per_site, site.ravel() % PARTS),
        )  # fmt: skip

    def forcings(self, batch: Batch, hidden: Tensor) -> dict[str, Tensor]:
        """Reconstructed forcings [B, T, F] by reference, from the values that are not hidden."""
        season, shape = _season(batch), batch.forcings.shape
        visible = batch.forcings.masked_fill(hidden, torch.nan)
        day = np.concatenate([_flat(visible), _flat(season)[:, 1:]], 1)
        found = {
            "seasonal_cycle": _flat(season) @ self.cycle,
            "own_harmonics": _own_harmonics(visible, season),
            "same_day_regression": self.day.filled(day)[:, : shape[-1]],
        }
        return {name: torch.from_numpy(values).reshape(shape) for name, values in found.items()}

    def statics(
        self, batch: Batch, hidden_forcings: Tensor, hidden_statics: Tensor
    ) -> dict[str, Tensor]:
        """Reconstructed numeric static attributes [B, S], from the values that are not hidden."""
        means = batch.forcings.masked_fill(hidden_forcings, torch.nan).nanmean(1)
        visible = batch.statics.masked_fill(hidden_statics, torch.nan)
        filled = self.site.filled(np.concatenate([_array(visible), _array(means)], 1))
        return {"regression": torch.from_numpy(filled[:, : batch.statics.shape[1]])}


def verdict(skills: Mapping[str, Mapping[str, float]]) -> str:
    """One line if the network is worse than a reference on all forcings or statics; else empty.

    >>> verdict({"all forcings": {"network": 0.41, "same_day_regression": 0.6}})
    'under-trained: skill on hidden forcings 0.41, same-day regression 0.60'
    """
    parts = []
    for group in ("forcings", "statics"):
        of_group = dict(skills.get(f"all {group}", {}))
        network = of_group.pop("network", np.nan)
        if of_group and network < max(of_group.values()):
            best = max(of_group, key=of_group.__getitem__)
            words = best.replace("same_day", "same-day").replace("_", " ")
            parts.append(f"skill on hidden {group} {network:.2f}, {words} {of_group[best]:.2f}")
    return f"under-trained: {'; '.join(parts)}" if parts else ""


def _regressed(column: Array, season: Array) -> Array:
    """Coefficients [P] of the seasons [n, P] for the values [n] that are there."""
    known = np.isfinite(column)
    return np.asarray(np.linalg.lstsq(season[known], column[known], rcond=None)[0], np.float64)


def _own_harmonics(visible: Tensor, season: Tensor) -> Array:
    """Harmonics [B·T, F] fitted to each window's own visible values of each forcing."""
    values, basis = visible.double(), season.double()
    known = (~values.isnan()).double()
    gram = torch.einsum("btf,bti,btj->bfij", known, basis, basis)
    gram = gram + OWN_PENALTY * torch.eye(basis.shape[-1], dtype=gram.dtype)
    moment = torch.einsum("btf,bti->bfi", values.nan_to_num(0.0), basis)
    weights = torch.linalg.solve(gram, moment[..., None])[..., 0]
    return _flat(torch.einsum("bti,bfi->btf", basis, weights))


def _season(batch: Batch) -> Tensor:
    """Constant and harmonics [B, T, 2 H + 1] of the time of year."""
    if batch.day_of_year is None:
        return torch.ones((*batch.forcings.shape[:2], 1))
    angle = 2 * torch.pi * batch.day_of_year.cpu()
    waves = [wave(k * angle) for k in range(1, HARMONICS + 1) for wave in (torch.cos, torch.sin)]
    return torch.stack([torch.ones_like(angle), *waves], -1)


def _array(values: Tensor) -> Any:
    return values.detach().cpu().double().numpy()


def _flat(values: Tensor) -> Array:
    """Values [B, T, F] as [B·T, F]."""
    flat: Array = _array(values).reshape(-1, values.shape[-1])
    return flat
