"""Scores of targets that are series: by site, pooled, by fold, region and season."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from stefaland.metrics import (
    SCORES,
    Array,
    PairMoments,
    accumulate,
    coverage,
    finish,
    flow_duration,
    gaussian_crps,
    is_error,
    paired_difference,
    pool,
    score_series,
    summarise,
)
from stefaland.model.quantiles import NAMES, quantile_crps
from workflows.config.ranking import ScoreSettings


def finite(value: Any) -> Any:
    """Plain values for JSON, with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _moments(table: xr.Dataset, model: str) -> PairMoments:
    return accumulate(table["observed"].values, table["predicted"].sel(model=model).values)


def _pooled(moments: PairMoments, labels: Any = None) -> dict[str, dict[str, float]]:
    groups = pool(moments, labels)
    return {
        name: {score: float(value[0]) for score, value in finish(group).items()}
        for name, group in groups.items()
    }


def predicted_by_all(table: xr.Dataset) -> tuple[xr.Dataset, int]:
    """The table with observations only where every model has a prediction, and the number left out.

    All models are thus scored on the same values.
    """
    predicted = table["predicted"].notnull().all("model")
    left_out = int((table["observed"].notnull() & ~predicted).sum())
    return table.assign(observed=table["observed"].where(predicted)), left_out


def model_scores(table: xr.Dataset, model: str, daily: bool) -> dict[str, Any]:
    """All scores of one model in the scorecard; flow-duration errors too where `daily`."""
    observed = table["observed"].values
    chosen = table.sel(model=model)
    predicted, spread = chosen["predicted"].values, chosen["spread"].values
    moments = _moments(table, model)
    by_site = finish(moments)
    if daily:
        by_site |= flow_duration(observed, predicted)
    scores: dict[str, Any] = {
        "pooled": _pooled(moments)["all"],
        "sites": summarise(by_site)["all"],
        "folds": _pooled(moments, table["fold"].values),
        "regions": _pooled(moments, table["region"].values),
        "seasons": {season: _pooled(_moments(part, model))["all"]
                    for season, part in table.groupby("time.season")},
    }  # fmt: skip
    quantiles = quantiles_of(chosen)
    if quantiles is not None:
        crps = quantile_crps(observed, quantiles)
        valid = np.isfinite(observed) & np.isfinite(quantiles).all(-1)
        held = (observed >= quantiles[..., 0]) & (observed <= quantiles[..., -1])
        share = float(held[valid].mean())
        scores["uncertainty"] = {"CRPS": np.nanmean(crps), "coverage_90": share}
    elif np.isfinite(spread).any():
        crps = gaussian_crps(observed, predicted, spread)
        inside = coverage(observed.ravel(), predicted.ravel(), spread.ravel())
        scores["uncertainty"] = {"CRPS": np.nanmean(crps), "coverage_90": float(inside)}
    return scores


def quantiles_of(table: xr.Dataset) -> np.ndarray | None:
    """Quantiles [site, time, Q] of a model's table; None where it has none."""
    if not all(name in table for name in NAMES):
        return None
    values = np.stack([table[name].values for name in NAMES], -1)
    return values if np.isfinite(values).any() else None


def ranked(scores: Mapping[str, Any], settings: ScoreSettings) -> list[str]:
    """Model names, the best first, by the score of the settings."""
    metric, over = settings.metric, settings.over
    values = {
        model: parts[over][metric]["median"] if over == "sites" else parts[over][metric]
        for model, parts in scores.items()
    }
    sign = 1 if is_error(metric) else -1
    return sorted(
        values, key=lambda model: sign * values[model] if np.isfinite(values[model]) else np.inf
    )


def series_scorecard(table: xr.Dataset, settings: ScoreSettings, seed: int) -> dict[str, Any]:
    """Scores of all models of a table of held-out sites, their ranking and paired differences.

    The differences are those of StefaLand, the first model, from each of the others. `table` has
    observations only where every model has a prediction (`predicted_by_all`).
    """
    daily = table.sizes["time"] > 60
    stefaland, *others = table["model"].values.astype(str).tolist()
    scores = {model: model_scores(table, model, daily) for model in (stefaland, *others)}
    add_extra_scores(scores, table, settings)
    metric = settings.metric if settings.over == "sites" else "RMSE"
    sign = -1.0 if is_error(metric) else 1.0
    by_site = {model: sign * site_scores(table, model, metric) for model in (stefaland, *others)}
    return {
        "rank_by": settings.model_dump(),
        "sites": int(table.sizes["site"]),
        "models": scores,
        "ranking": ranked(scores, settings),
        "stefaland_minus": {
            model: {
                "metric": metric, **paired_difference(by_site[stefaland], by_site[model], seed=seed)
            }
            for model in others
        },
    }  # fmt: skip


def site_scores(table: xr.Dataset, model: str, name: str) -> Array:
    """The named score of a model's series at each site, [site]."""
    predicted = table["predicted"].sel(model=model)
    return score_series(name, table["observed"].values, predicted.values)


def add_extra_scores(
    scores: dict[str, dict[str, Any]], table: xr.Dataset, settings: ScoreSettings
) -> None:
    """Add the scores of `score.extra`, and the metric if it comes from a plugin, to all models.

    `scores` has the parts pooled, sites, folds, regions and seasons of each model.
    """
    names = list(dict.fromkeys(name for name in (settings.metric, *settings.extra)
                               if SCORES.origin(name)))  # fmt: skip
    if not names:
        return
    parts = {"folds": "fold", "regions": "region", "seasons": "time.season"}
    for model, parts_of_model in scores.items():
        parts_of_model["sites"] |= summarise(
            {name: site_scores(table, model, name) for name in names}
        )["all"]
        parts_of_model["pooled"] |= _pooled_extra(table, model, names)
        for kind, label in parts.items():
            for value, part in table.groupby(label):
                parts_of_model[kind][str(value)] |= _pooled_extra(part, model, names)


def _pooled_extra(table: xr.Dataset, model: str, names: Sequence[str]) -> dict[str, float]:
    """Each score of the series of all sites joined to a single one."""
    observed = table["observed"].transpose("site", "time").values.reshape(1, -1)
    predicted = table["predicted"].sel(model=model).transpose("site", "time").values
    return {
        name: float(np.squeeze(score_series(name, observed, predicted.reshape(1, -1))))
        for name in names
    }
