"""Scores of several targets that are series: a table and a scorecard of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from stefaland.metrics import CONSTANT
from workflows.config.ranking import ScoreSettings
from workflows.products.heldout import Stores, heldout_series, series_names
from workflows.products.series_scores import predicted_by_all, series_scorecard

TARGET = "target"
"""Name of the dim of the targets in a table of several."""


def target_tables(
    observed: xr.Dataset, targets: Sequence[str], stores: Stores
) -> dict[str, xr.Dataset]:
    """The held-out series of each target (`heldout_series`), all with the same sites."""
    return {
        name: heldout_series(observed[name], stores, prefix)
        for name, prefix in series_names(targets).items()
    }


def in_its_spread(table: xr.Dataset) -> xr.Dataset:
    """The series of a target in units of the standard deviation of all its observations.

    Scores that have units, such as RMSE, then compare with those of other targets; NSE and others
    without units stay as they are. Constant observations have no such unit, and are left.
    """
    observed = table["observed"].values.astype(np.float64)
    known = observed[np.isfinite(observed)]
    varies = known.size > 0 and known.std() > CONSTANT * abs(known.mean())
    return table / known.std() if varies else table


def joined(tables: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """The tables of all targets as one, several along the dim `target`."""
    if len(tables) == 1:
        return next(iter(tables.values()))
    names = xr.Variable(TARGET, list(tables))
    return xr.concat(list(tables.values()), names, data_vars="all")


def divided(table: xr.Dataset, targets: Sequence[str]) -> dict[str, xr.Dataset]:
    """The table of each target of a `joined` one."""
    if TARGET not in table.dims:
        return {targets[0]: table}
    return {name: table.sel({TARGET: name}, drop=True) for name in targets}


def scored_alike(table: xr.Dataset) -> tuple[xr.Dataset, int]:
    """The sites and values of a table that count in the scores of all models.

    They are those that every model predicts, at sites with an observation. Returns the number of
    observations that are left out too.
    """
    common, left_out = predicted_by_all(table)
    seen = common["observed"].notnull().any("time").values
    return (common if seen.all() else common.isel(site=np.flatnonzero(seen))), left_out


def target_scorecards(
    tables: Mapping[str, xr.Dataset], units: Mapping[str, str], settings: ScoreSettings, seed: int
) -> dict[str, Any]:
    """The scorecard of the first target, and with several that of each under `targets`.

    `ranking_of_targets` has the models by their mean rank over the targets. `units` are those of
    each target.
    """
    cards = {}
    for name, table in tables.items():
        common, left_out = scored_alike(table) if len(tables) > 1 else predicted_by_all(table)
        card = series_scorecard(common, settings, seed)
        cards[name] = card | {"not_predicted": left_out, "units": units[name]}
    first = next(iter(cards.values()))
    if len(cards) == 1:
        return first
    ranking = mean_ranking([card["ranking"] for card in cards.values()])
    return {**first, "targets": cards, "ranking_of_targets": ranking}


def mean_ranking(rankings: Sequence[Sequence[str]]) -> list[str]:
    """Models by their mean rank in several rankings; the first ranking decides between equal ones.

    >>> mean_ranking([["lstm", "ridge", "trees"], ["trees", "lstm", "ridge"]])
    ['lstm', 'trees', 'ridge']
    """
    return sorted(rankings[0], key=lambda model: sum(ranking.index(model) for ranking in rankings))
