"""The PatchTST-like baseline: shapes, what it sees, its size, and its way to disk and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stefaland.baselines.registry import fit_baseline
from stefaland.data.batch import Batch
from stefaland.model.networks.lstm import LSTMConfig, LSTMNetwork
from stefaland.model.networks.patchtst import PatchTST, PatchTSTConfig, _averaged
from stefaland.prediction.ensemble import load
from tests.stefaland.training.test_finetune import DAILY, daily_inputs, skill

FORCINGS, STATICS = ("rain", "heat", "light"), ("clay", "height")


def settings(window: int = 20, hidden: int = 16, n_targets: int = 2) -> PatchTSTConfig:
    return PatchTSTConfig.matching_lstm(hidden, window, FORCINGS, STATICS, n_targets, "gaussian")


def batch(window: int = 20, size: int = 3, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    forcings = torch.randn(size, window, 3, generator=draw)
    statics = torch.randn(size, 2, generator=draw)
    return Batch(
        forcings,
        statics,
        categorical=None,
        day_of_year=torch.zeros(size, window),
        lonlat=torch.zeros(size, 2),
    )


@pytest.mark.parametrize("window", [1, 3, 12, 20, 365])
def test_every_day_of_any_window_has_a_prediction(window: int) -> None:
    model = PatchTST(settings(window)).eval()
    out = model(batch(window))
    assert out.mean.shape == (3, window, 2)
    assert out.mean.isfinite().all()
    assert (out.scale > 0).all()


def test_days_of_overlapping_patches_are_averaged() -> None:
    days = torch.tensor([[0, 1, 2], [2, 3, 4]])
    each = torch.arange(6.0).reshape(1, 2, 3, 1)
    want = torch.tensor([0.0, 1.0, (2 + 3) / 2, 4.0, 5.0])
    torch.testing.assert_close(_averaged(each, days, 5)[0, :, 0], want)


def test_it_sees_every_forcing_and_static_and_no_other_site() -> None:
    model = PatchTST(settings()).eval()
    inputs = batch()
    base = model(inputs).mean
    for changed in (("forcings", (0, 7, 1)), ("statics", (0, 1))):
        values = getattr(inputs, changed[0]).clone()
        values[changed[1]] += 1.0
        other = Batch(**{**vars(inputs), changed[0]: values})
        gap = (model(other).mean - base).abs()
        assert gap[0].max() > 1e-5
        assert gap[1:].max() == 0


def test_a_missing_input_counts_as_the_mean() -> None:
    model = PatchTST(settings()).eval()
    inputs = batch()
    missing, mean = inputs.forcings.clone(), inputs.forcings.clone()
    missing[:, 4, 0], mean[:, 4, 0] = torch.nan, 0.0
    outs = [model(Batch(**{**vars(inputs), "forcings": f})).mean for f in (missing, mean)]
    torch.testing.assert_close(outs[0], outs[1])


@pytest.mark.parametrize("hidden", [64, 128, 256])
def test_it_is_of_about_the_lstms_size(hidden: int) -> None:
    forcings, statics = tuple("abcde"), tuple(f"s{i}" for i in range(20))
    lstm = LSTMNetwork(LSTMConfig(forcings=forcings, statics=statics, hidden=hidden))
    ours = PatchTST(PatchTSTConfig.matching_lstm(hidden, 365, forcings, statics, 1, "gaussian"))
    sizes = [sum(p.numel() for p in m.parameters()) for m in (ours, lstm)]
    assert 0.5 < sizes[0] / sizes[1] < 2


def test_it_learns_the_buckets_and_comes_back_from_disk(tmp_path: Path) -> None:
    inputs = daily_inputs(tmp_path)
    model = fit_baseline("patchtst", inputs)
    held = DAILY.subset(inputs.fold.test)
    out = model.predict(held)
    mean = fit_baseline("climatology", inputs).predict(held)
    assert skill(out, DAILY, inputs.fold) > skill(mean, DAILY, inputs.fold) + 0.1
    assert np.isnan(out["mean"][:, :40]).all()
    assert (out["spread"][:, 40:] > 0).all()
    np.testing.assert_array_equal(load(tmp_path).predict(held)["mean"], out["mean"])


def test_patches_must_cover_the_window() -> None:
    with pytest.raises(ValidationError, match="patches of 30"):
        PatchTSTConfig(forcings=FORCINGS, statics=STATICS, window=20, patch_length=30)
