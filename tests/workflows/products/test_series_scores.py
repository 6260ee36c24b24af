"""Scores of held-out series: the same values for every model, by season too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from workflows.products.series_scores import model_scores, predicted_by_all

DAYS = pd.date_range("2001-01-01", "2002-12-31")


def table() -> xr.Dataset:
    """Two models with the same errors; "half" predicts only where observations are easy."""
    rng = np.random.default_rng(0)
    observed = rng.gamma(2.0, 1.0, (4, DAYS.size))
    noise = np.where(DAYS.year == 2001, 0.1, 2.0) * rng.normal(size=observed.shape)
    whole = observed + noise
    half = np.where(DAYS.year == 2001, whole, np.nan)
    observed[0, :10] = np.nan
    sites = {"site": np.arange(4), "time": DAYS, "fold": ("site", list("aabb"))}
    return xr.Dataset(
        {
            "observed": (("site", "time"), observed),
            "predicted": (("model", "site", "time"), np.stack([whole, half])),
            "spread": (("model", "site", "time"), np.full((2, *observed.shape), 0.1)),
        },
        coords={"model": ["whole", "half"], **sites, "region": ("site", list("abab"))},
    )


def test_models_are_scored_on_the_values_that_all_of_them_predict() -> None:
    alone = [model_scores(table(), name, False)["pooled"]["NSE"] for name in ("whole", "half")]
    assert alone[1] > alone[0] + 0.3, "on their own values they cannot be compared"
    common, left_out = predicted_by_all(table())
    assert left_out == 4 * 365
    whole, half = (model_scores(common, name, False) for name in ("whole", "half"))
    assert whole["pooled"]["count"] == half["pooled"]["count"] == 4 * 365 - 10
    for part in ("pooled", "folds", "regions", "seasons"):
        assert whole[part] == half[part]


def test_seasons_are_those_of_their_months() -> None:
    scores = model_scores(table(), "whole", False)["seasons"]
    assert set(scores) == {"DJF", "MAM", "JJA", "SON"}
    summer = table().sel(time=DAYS.month.isin([6, 7, 8]))
    error = (summer["predicted"].sel(model="whole") - summer["observed"]).values
    assert scores["JJA"]["RMSE"] == pytest.approx(np.sqrt((error**2).mean()))
    assert sum(season["count"] for season in scores.values()) == 4 * DAYS.size - 10
