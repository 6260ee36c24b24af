"""The DLinear baseline: linear filters that look back only, and its way to disk and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stefaland.baselines.registry import fit_baseline
from stefaland.data.batch import Batch
from stefaland.model.networks.dlinear import DLinear, DLinearConfig
from stefaland.prediction.ensemble import load
from tests.stefaland.training.test_finetune import DAILY, daily_inputs

WINDOW = 30


def network(cyclic: bool = False, window: int = WINDOW) -> DLinear:
    config = DLinearConfig(forcings=("rain", "heat"), statics=("clay",), window=window,
                           head="point", cyclic=cyclic)  # fmt: skip
    made = DLinear(config).eval()
    torch.nn.init.normal_(made.filters, generator=torch.Generator().manual_seed(1))
    return made


def batch(seed: int, window: int = WINDOW) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        torch.randn(3, window, 2, generator=draw), torch.randn(3, 1, generator=draw),
        day_of_year=torch.zeros(3, window), lonlat=torch.zeros(3, 2),
    )  # fmt: skip


def test_features_are_the_filtered_averages_and_remainders() -> None:
    model, inputs = network(), batch(0)
    x = torch.nn.functional.pad(inputs.forcings[0], (0, 0, WINDOW, 0))
    trend = torch.stack([x[i - 14 : i + 1].mean(0) for i in range(WINDOW, 2 * WINDOW)])
    long = torch.stack([x[max(0, i - 14) : i + 1].sum(0) / 15 for i in range(2 * WINDOW)])
    torch.testing.assert_close(long[WINDOW:], trend)
    parts = torch.cat([long, x - long], -1)
    filters = model.filters.detach().flip(-1)
    want = [(parts[t + 1 : t + 1 + WINDOW].T * filters).sum((1, 2)) for t in range(WINDOW)]
    statics = model.statics(torch.cat([inputs.statics[:1], torch.ones(1, 1)], 1))
    expected = model.head(torch.stack(want)[None] + statics[:, None]).mean
    torch.testing.assert_close(model(inputs).mean[:1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [1, 12, WINDOW])
def test_no_step_sees_a_later_one_unless_the_time_axis_is_periodic(window: int) -> None:
    inputs = batch(0, window)
    changed = inputs.forcings.clone()
    changed[:, -1] += 1.0
    later = replace(inputs, forcings=changed)
    model, periodic = network(window=window), network(True, window)
    torch.testing.assert_close(model(later).mean[:, :-1], model(inputs).mean[:, :-1])
    moved = (periodic(later).mean - periodic(inputs).mean).abs()
    assert (moved > 1e-6).all()
    rolled = replace(inputs, forcings=inputs.forcings.roll(1, 1))
    torch.testing.assert_close(periodic(rolled).mean, periodic(inputs).mean.roll(1, 1))


def test_it_is_trained_and_loaded_and_takes_gaps(tmp_path: Path) -> None:
    inputs = daily_inputs(tmp_path)
    config = inputs.config.model_copy(update={"epochs": 2, "steps_per_epoch": 2, "window": 60})
    trained = fit_baseline("dlinear", replace(inputs, config=config))
    forcings = DAILY.forcings.clone()
    forcings[:, 70] = torch.nan
    held = replace(DAILY, forcings=forcings).subset(inputs.fold.test)
    out = trained.predict(held)
    assert np.isfinite(out["mean"][:, 40:]).all()
    assert (out["spread"][:, 40:] > 0).all()
    np.testing.assert_array_equal(out["mean"], load(tmp_path).predict(held)["mean"])
