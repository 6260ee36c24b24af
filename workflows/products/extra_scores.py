"""Scores that plugins add to all parts of the scorecard of series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from stefaland.metrics import SCORES, Array, score_series, summarise
from workflows.config.ranking import ScoreSettings


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
        parts_of_model["pooled"] |= _pooled(table, model, names)
        for kind, label in parts.items():
            for value, part in table.groupby(label):
                parts_of_model[kind][str(value)] |= _pooled(part, model, names)


def _pooled(table: xr.Dataset, model: str, names: Sequence[str]) -> dict[str, float]:
    """Each score of the series of all sites joined to a single one."""
    observed = table["observed"].transpose("site", "time").values.reshape(1, -1)
    predicted = table["predicted"].sel(model=model).transpose("site", "time").values
    return {
        name: float(np.squeeze(score_series(name, observed, predicted.reshape(1, -1))))
        for name in names
    }
