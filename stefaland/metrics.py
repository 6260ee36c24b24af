"""Scores of predicted series at sites, from moments that are additive over cells and times.

Series are in physical units. A pair counts only where both values exist; the count is returned with
the scores. Definitions: NSE (Nash and Sutcliffe 1970), KGE (Gupta et al. 2009), FHV and FLV (Yilmaz
et al. 2008); ubRMSE of anomalies from the means of both series over the same pairs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from pipeline.core.plugins import Registry, registered

Array = NDArray[np.float64]
HIGH_FRACTION, LOW_FRACTION = 0.02, 0.3
"""Fractions of the flow duration curve: high flows of FHV, low flows of FLV."""
LOG_FLOOR = 1e-6
"""Smallest flow of which a logarithm is taken."""
CONSTANT = 1e-12
"""Ratio of standard deviation to mean below which a series varies by rounding alone."""
Z_90 = 1.6448536269514722
"""Half width, in standard deviations, of the central 90 % of a normal distribution."""


@dataclass(frozen=True)
class PairMoments:
    """Joint moments of observed and simulated values, one entry per site (`merge`, `finish`)."""

    count: Array
    mean_obs: Array
    mean_sim: Array
    m2_obs: Array
    m2_sim: Array
    comoment: Array

    def __len__(self) -> int:
        return len(self.count)


def accumulate(obs: Any, sim: Any, axis: int = -1) -> PairMoments:
    """Moments of pairs along `axis` (time), float64; of series [N, T] those of N sites.

    Pairs with NaN are not counted. Raises `ValueError` for arrays of different shapes.
    """
    o, s = (np.moveaxis(np.asarray(x, dtype=np.float64), axis, -1) for x in (obs, sim))
    if o.shape != s.shape:
        raise ValueError(f"observed {o.shape} and simulated {s.shape} differ in shape")
    valid = np.isfinite(o) & np.isfinite(s)
    count = valid.sum(-1).astype(np.float64)
    divisor = np.maximum(count, 1.0)
    mean_o = np.where(valid, o, 0.0).sum(-1) / divisor
    mean_s = np.where(valid, s, 0.0).sum(-1) / divisor
    dev_o = np.where(valid, o - mean_o[..., None], 0.0)
    dev_s = np.where(valid, s - mean_s[..., None], 0.0)
    moments = (
        count,
        mean_o,
        mean_s,
        (dev_o**2).sum(-1),
        (dev_s**2).sum(-1),
        (dev_o * dev_s).sum(-1),
    )
    return PairMoments(*(np.atleast_1d(m) for m in moments))


def merge(a: PairMoments, b: PairMoments) -> PairMoments:
    """Moments of both samples together, site by site (Chan et al. 1979)."""
    count = a.count + b.count
    divisor = np.maximum(count, 1.0)
    weight = a.count * b.count / divisor
    gap_o, gap_s = b.mean_obs - a.mean_obs, b.mean_sim - a.mean_sim
    fraction = b.count / divisor
    return PairMoments(
        count,
        a.mean_obs + gap_o * fraction,
        a.mean_sim + gap_s * fraction,
        a.m2_obs + b.m2_obs + gap_o**2 * weight,
        a.m2_sim + b.m2_sim + gap_s**2 * weight,
        a.comoment + b.comoment + gap_o * gap_s * weight,
    )


def pool(moments: PairMoments, labels: Any | None = None) -> dict[str, PairMoments]:
    """Moments of all sites merged into one (`"all"`), or into one per label [N]."""
    names = np.full(len(moments), "all") if labels is None else np.asarray(labels).astype(str)
    return {str(name): _pooled(moments, names == name) for name in np.unique(names)}


def _pooled(moments: PairMoments, inside: NDArray[np.bool_]) -> PairMoments:
    n, mean_o, mean_s, m2_o, m2_s, co = (getattr(moments, f.name)[inside] for f in fields(moments))
    count = n.sum()
    divisor = max(count, 1.0)
    all_o, all_s = (n * mean_o).sum() / divisor, (n * mean_s).sum() / divisor
    gap_o, gap_s = mean_o - all_o, mean_s - all_s
    merged = (
        count, all_o, all_s, (m2_o + n * gap_o**2).sum(), (m2_s + n * gap_s**2).sum(),
        (co + n * gap_o * gap_s).sum(),
    )  # fmt: skip
    return PairMoments(*(np.atleast_1d(m) for m in merged))


def finish(moments: PairMoments, min_count: int = 2) -> dict[str, Array]:
    """Scores [N] by name; NaN where a site has too few pairs or a score is not defined."""
    n = moments.count
    with np.errstate(divide="ignore", invalid="ignore"):
        enough = np.where(n >= max(min_count, 1), 1.0, np.nan)
        bias = moments.mean_sim - moments.mean_obs
        centred = np.maximum(moments.m2_sim + moments.m2_obs - 2 * moments.comoment, 0.0)
        error = centred + n * bias**2
        varies = _varies(n, moments.mean_obs, moments.m2_obs)
        both_vary = varies * _varies(n, moments.mean_sim, moments.m2_sim)
        r = moments.comoment / np.sqrt(moments.m2_obs * moments.m2_sim) * both_vary
        alpha = np.sqrt(moments.m2_sim / moments.m2_obs) * varies
        beta = np.where(moments.mean_obs != 0, moments.mean_sim / moments.mean_obs, np.nan)
        kge = 1 - np.sqrt((r - 1) ** 2 + (alpha - 1) ** 2 + (beta - 1) ** 2)
        scores = {
            "NSE": (1 - error / moments.m2_obs) * varies,
            "KGE": kge,
            "KGE_r": r,
            "KGE_alpha": alpha,
            "KGE_beta": beta,
            "RMSE": np.sqrt(error / n),
            "ubRMSE": np.sqrt(centred / n),
            "bias": bias,
            "correlation": r,
        }
        finished = {name: value * enough for name, value in scores.items()}
    finished["count"] = n
    return finished


def _varies(count: Array, mean: Array, m2: Array) -> Array:
    """Array of 1 where a series varies, else NaN."""
    return np.where(m2 > count * (CONSTANT * mean) ** 2, 1.0, np.nan)


def flow_duration(obs: Any, sim: Any) -> dict[str, Array]:
    """FHV (top 2 %) and FLV (bottom 30 %, of logarithms) [N] of series [N, T], in percent.

    Both require the whole series of a site at once.
    """
    o, s = (np.atleast_2d(np.asarray(x, dtype=np.float64)) for x in (obs, sim))
    scores = {name: np.full(len(o), np.nan) for name in ("FHV", "FLV")}
    for i in range(len(o)):
        valid = np.isfinite(o[i]) & np.isfinite(s[i])
        high_to_low = [np.sort(x[i][valid])[::-1] for x in (o, s)]
        scores["FHV"][i] = _high_flow_bias(*high_to_low)
        scores["FLV"][i] = _low_flow_bias(*high_to_low)
    return scores


def _high_flow_bias(obs: Array, sim: Array) -> float:
    top = round(HIGH_FRACTION * len(obs))
    total = obs[:top].sum()
    return float((sim[:top] - obs[:top]).sum() / total * 100) if top and total != 0 else np.nan


def _low_flow_bias(obs: Array, sim: Array) -> float:
    low = round(LOW_FRACTION * len(obs))
    if not low:
        return np.nan
    # Zeros are raised to the floor that other packages use, so that their logarithm exists.
    log_obs, log_sim = (np.log(np.maximum(x[-low:], LOG_FLOOR)) for x in (obs, sim))
    volume_obs, volume_sim = (log_obs - log_obs.min()).sum(), (log_sim - log_sim.min()).sum()
    return float(-(volume_sim - volume_obs) / (volume_obs + LOG_FLOOR) * 100)


def gaussian_crps(obs: Any, mean: Any, spread: Any) -> Array:
    """Continuous ranked probability score of normal distributions, in the target's units and the
    shape of the inputs (Gneiting et al. 2005). With a spread of 0 it is the absolute error.
    """
    o, m, s = (np.asarray(x, dtype=np.float64) for x in (obs, mean, spread))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (o - m) / s
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        crps = s * (z * erf(z / np.sqrt(2)) + 2 * density - 1 / np.sqrt(np.pi))
        return np.where(s > 0, crps, np.where(s == 0, np.abs(o - m), np.nan))


def coverage(obs: Any, mean: Any, spread: Any, z: float = Z_90) -> Array:
    """Fraction [N] of valid pairs within mean ± z·spread along the last axis.

    For calibrated normal distributions it is 0.9 with the default z.
    """
    o, m, s = (np.asarray(x, dtype=np.float64) for x in (obs, mean, spread))
    valid = np.isfinite(o) & np.isfinite(m) & np.isfinite(s)
    inside = valid & (np.abs(o - m) <= z * s)
    count = valid.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, inside.sum(-1) / count, np.nan)


def summarise(
    scores: Mapping[str, Array], labels: Any | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """Summary {median, q25, q75, mean, sites} of each score, by label and score name.

    Without labels the only label is `"all"`.
    """
    size = len(next(iter(scores.values())))
    names = np.full(size, "all") if labels is None else np.asarray(labels).astype(str)
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for name in np.unique(names):
        inside = names == name
        summary[str(name)] = {key: _spread(value[inside]) for key, value in scores.items()}
    return summary


def _spread(values: Array) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        q25, median, q75 = np.nanpercentile(values, [25, 50, 75])
        mean = np.nanmean(values)
    sites = int(np.isfinite(values).sum())
    return {
        "median": float(median), "q25": float(q25), "q75": float(q75),
        "mean": float(mean), "sites": sites,
    }  # fmt: skip


def paired_difference(
    a: Any, b: Any, *, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> dict[str, float]:
    """Median over sites of `a - b` with its bootstrap interval (sites resampled in pairs), and the
    fraction of sites where `a` is higher.
    """
    gap = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    gap = gap[np.isfinite(gap)]
    if not len(gap):
        return {"difference": np.nan, "low": np.nan, "high": np.nan, "share": np.nan, "sites": 0}
    rng = np.random.default_rng(seed)
    medians = np.median(gap[rng.integers(0, len(gap), (draws, len(gap)))], axis=1)
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return {
        "difference": float(np.median(gap)), "low": float(low), "high": float(high),
        "share": float((gap > 0).mean()), "sites": len(gap),
    }  # fmt: skip


@dataclass(frozen=True)
class Score:
    """A score of predicted series."""

    function: Callable[[Array, Array], Array]
    """Function of observed and predicted series [N, T] that returns scores [N]. A pair with NaN
    does not count; the score is NaN where it is not defined."""
    better: Literal["higher", "lower", "near_zero"]
    """Which values are better; for signed errors those near zero."""


SCORES: Registry[Score] = Registry("score", "stefaland.scores")


def _of_moments(name: str, observed: Array, predicted: Array) -> Array:
    return finish(accumulate(observed, predicted))[name]


def _absolute_bias(observed: Array, predicted: Array) -> Array:
    return np.abs(_of_moments("bias", observed, predicted))


def _of_flows(name: str, observed: Array, predicted: Array) -> Array:
    return flow_duration(observed, predicted)[name]


for _name in ("NSE", "KGE", "correlation"):
    SCORES.register(_name, Score(partial(_of_moments, _name), "higher"))
for _name in ("RMSE", "ubRMSE"):
    SCORES.register(_name, Score(partial(_of_moments, _name), "lower"))
SCORES.register("bias", Score(partial(_of_moments, "bias"), "near_zero"))
SCORES.register("absolute_bias", Score(_absolute_bias, "lower"))
for _name in ("FHV", "FLV"):
    SCORES.register(_name, Score(partial(_of_flows, _name), "near_zero"))

ScoreName = Annotated[str, registered(SCORES)]


def score_series(name: str, observed: Any, predicted: Any) -> Array:
    """The named score [N] of series [N, T]; raises `InputError` for an unknown name.

    >>> score_series("bias", [[1.0, 2.0, 3.0]], [[1.5, 2.5, 3.5]])
    array([0.5])
    """
    o, s = (np.asarray(x, dtype=np.float64) for x in (observed, predicted))
    return SCORES.get(name).function(o, s)


def scores(observed: Any, predicted: Any) -> dict[str, Array]:
    """All scores [N] of predicted series [N, T] or [T] by name, and `count`, their pairs.

    A pair counts only where both values exist; a score that is not defined is NaN.

    >>> found = scores([1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 4.0, 9.0])
    >>> round(float(found["NSE"][0]), 3), int(found["count"][0])
    (0.5, 3)
    """
    o, s = (np.atleast_2d(np.asarray(x, dtype=np.float64)) for x in (observed, predicted))
    return finish(accumulate(o, s)) | flow_duration(o, s)


def is_error(name: str) -> bool:
    """Whether lower values of the named score are better; `InputError` for unknown names."""
    return SCORES.get(name).better == "lower"
