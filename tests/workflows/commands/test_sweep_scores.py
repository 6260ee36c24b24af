"""The scores of a sweep's variants, from tables of what each seed predicts."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.workflows.cli.test_json import agree
from workflows.commands.sweep import score_texts, variant_scores
from workflows.products.series_scores import finite

SITES, DAYS = 12, 200


def table(noise: float, seeds: int, gap: bool = False) -> xr.Dataset:
    """What some seeds predict, each with errors of its own of a standard deviation."""
    observed = np.random.default_rng(1).gamma(2.0, 2.0, (SITES, DAYS))
    errors = np.random.default_rng(int(100 * noise)).normal(0, noise, (seeds, SITES, DAYS))
    predicted = observed + errors
    if gap:
        predicted[:, :, :50] = np.nan
    dims = ("model", "site", "time")
    return xr.Dataset(
        {"observed": (dims[1:], observed), "predicted": (dims, predicted)},
        {"model": [str(seed) for seed in range(seeds)]},
    )


def test_the_better_variant_has_the_better_scores_and_the_first_no_difference() -> None:
    tables = {"good": table(0.5, 3), "bad": table(1.0, 3)}
    scores = variant_scores(tables, "regression", "RMSE", seed=0)
    good, bad = scores["variants"]["good"], scores["variants"]["bad"]
    agree(finite(scores), "stefaland sweep CONFIG --json")
    assert scores["order"] == ["good", "bad"]
    assert list(good["seeds"]) == ["0", "1", "2"]
    assert good["mean"] == pytest.approx(0.5, abs=0.03)
    assert bad["mean"] == pytest.approx(1.0, abs=0.06)
    # The errors of three seeds are independent.
    assert bad["ensemble"] == pytest.approx(1 / np.sqrt(3), abs=0.04)
    assert good["minus_first"]["difference"] == 0
    assert bad["minus_first"]["low"] > 0


def test_one_seed_has_no_spread() -> None:
    scores = variant_scores({"one": table(0.5, 1)}, "regression", "NSE", seed=0)
    assert np.isnan(scores["variants"]["one"]["std"])


def test_only_what_all_variants_predict_counts() -> None:
    tables = {"whole": table(0.5, 2), "part": table(0.5, 2, gap=True)}
    scores = variant_scores(tables, "regression", "RMSE", seed=0)
    assert scores["variants"]["part"]["minus_first"]["difference"] == 0


def test_absolute_bias_and_small_scores_have_enough_decimals() -> None:
    low, high = table(0.0, 2), table(0.0, 2)
    low["predicted"] -= 0.0421
    high["predicted"] += 0.0433
    scores = variant_scores({"low": low, "high": high}, "regression", "absolute_bias", seed=0)
    assert score_texts(scores["variants"]["low"])[1] == "0.0421 ± 0.0000"
    assert score_texts(scores["variants"]["high"])[3] == "0.0012 (0.0012 to 0.0012)"
