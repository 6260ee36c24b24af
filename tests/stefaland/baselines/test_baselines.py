from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.baselines import registry
from stefaland.baselines.climatology import Climatology
from stefaland.baselines.features import Features, running_mean
from stefaland.baselines.registry import BaselineInputs, fit_baseline
from stefaland.baselines.regression import GradientBoosting, Ridge
from stefaland.config import FinetuneConfig, ModelConfig, TreeSettings
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.normalise import Normaliser
from stefaland.folds.split import Fold, Locations, make_folds
from stefaland.folds.visible import training_part
from stefaland.metrics import accumulate, finish, pool
from tests.synthetic import daily_cells, monthly_cells


def fold_of(data: CellData) -> Fold:
    at = Locations(data.cell.numpy(), data.lonlat.numpy(), data.group, data.region)
    return make_folds("groups", at, k=3, seed=0, validation_share=0.2)[0]


def normaliser_of(data: CellData, fold: Fold, **transforms: str) -> Normaliser:
    return fit_normaliser(data, data.rows(fold.train), None, transforms)


def nse(data: CellData, fold: Fold, predicted: dict[str, np.ndarray]) -> float:
    truth = data.subset(fold.test).target[..., 0].numpy()
    return float(finish(pool(accumulate(truth, predicted["mean"][..., 0]))["all"])["NSE"][0])


MONTHLY = monthly_cells(240)
DAILY = daily_cells(45, 200)


def test_climatology_is_the_training_mean_of_each_step() -> None:
    fold = fold_of(MONTHLY)
    out = Climatology.fit(MONTHLY, fold).predict(MONTHLY.subset(fold.test))
    want = MONTHLY.subset(fold.train).target.mean(0)
    np.testing.assert_allclose(out["mean"][0], want, rtol=1e-5)
    np.testing.assert_allclose(out["mean"][-1], want, rtol=1e-5)
    spread = MONTHLY.subset(fold.train).target.std(0, correction=0)
    np.testing.assert_allclose(out["spread"][0], spread, rtol=1e-4)


def test_temporal_climatology_knows_each_cell_and_no_test_day() -> None:
    (fold,) = make_folds(
        "time", Locations(DAILY.cell.numpy(), DAILY.lonlat.numpy()),
        train_period=("2001-01-01", "2001-04-30"), test_period=("2001-05-01", "2001-07-19"),
    )  # fmt: skip
    spoiled = DAILY.target.clone()
    spoiled[:, 120:] = 1e6
    outs = [
        Climatology.fit(d, fold).predict(DAILY)["mean"]
        for d in (DAILY, replace(DAILY, target=spoiled))
    ]
    np.testing.assert_array_equal(outs[0], outs[1])
    january = np.nanmean(DAILY.target[:, :31], axis=1)
    np.testing.assert_allclose(outs[0][:, 3], january, rtol=1e-4)


@pytest.mark.parametrize("kind", [Ridge, GradientBoosting])
@pytest.mark.parametrize("data", [MONTHLY, DAILY], ids=["monthly", "daily"])
def test_regressions_beat_climatology_on_held_out_cells(
    data: CellData, kind: type[Ridge] | type[GradientBoosting]
) -> None:
    fold = fold_of(data)
    cyclic = data is MONTHLY
    normaliser = normaliser_of(data, fold, **({} if cyclic else {"streamflow": "log"}))
    out = kind.fit(data, fold, normaliser, cyclic=cyclic).predict(data.subset(fold.test))
    skill = nse(data, fold, out)
    assert skill > (0.95 if cyclic else 0.4)
    assert (
        skill > nse(data, fold, Climatology.fit(data, fold).predict(data.subset(fold.test))) + 0.1
    )
    assert (out["spread"] > 0).all()


@pytest.mark.parametrize("kind", [Climatology, Ridge, GradientBoosting])
def test_no_fit_sees_the_test_cells(kind: type) -> None:
    fold = fold_of(MONTHLY)
    normaliser = normaliser_of(MONTHLY, fold)
    rows = MONTHLY.rows(fold.test)
    forcings, target = MONTHLY.forcings.clone(), MONTHLY.target.clone()
    forcings[rows], target[rows] = 1e4, -1e4
    outs = []
    for data in (MONTHLY, replace(MONTHLY, forcings=forcings, target=target)):
        settings = () if kind is Climatology else (normaliser,)
        outs.append(kind.fit(data, fold, *settings).predict(MONTHLY)["mean"])
    np.testing.assert_array_equal(outs[0], outs[1])
    # The same test can fail: with a test cell planted among the training cells it does.
    leaky = replace(fold, train=np.append(fold.train, fold.test[:3]))
    settings = () if kind is Climatology else (normaliser,)
    spoiled = replace(MONTHLY, forcings=forcings, target=target)
    leaked = kind.fit(spoiled, leaky, *settings).predict(MONTHLY)["mean"]
    assert np.abs(leaked - outs[0]).max() > 1e-3


def test_training_part_hides_the_days_outside_the_period() -> None:
    fold = replace(fold_of(DAILY), train_period=("2001-01-11", "2001-02-09"))
    train, validation = training_part(DAILY, fold)
    for part in (train, validation):
        assert part.target[:, :10].isnan().all()
        assert part.target[:, 40:].isnan().all()
        assert not part.target[:, 10:40].isnan().all()
    assert set(train.cell.tolist()) == set(fold.train.tolist())


def test_running_means_look_back_only_and_wrap_when_cyclic() -> None:
    normaliser = fit_normaliser(MONTHLY, torch.arange(len(MONTHLY)))
    changed = MONTHLY.forcings.clone()
    changed[:, 8] += 5.0
    a, b = (
        Features(normaliser, (3, 7), False).compute(replace(MONTHLY, forcings=f))
        for f in (MONTHLY.forcings, changed)
    )
    np.testing.assert_array_equal(a[:, :8], b[:, :8])
    wrapped = Features(normaliser, (3, 7), True).compute(MONTHLY)
    z = normaliser.forward(MONTHLY.forcings, MONTHLY.forcing_names).numpy()
    np.testing.assert_allclose(wrapped[:, 0, 2:4], z[:, [10, 11, 0]].mean(1), rtol=1e-4, atol=1e-5)


def test_missing_inputs_count_as_the_mean() -> None:
    holes = MONTHLY.statics.clone()
    holes[5, 0] = torch.nan
    data = replace(MONTHLY, statics=holes)
    normaliser = fit_normaliser(data, torch.arange(len(data)))
    features = Features.for_table(data, normaliser, cyclic=True)
    assert np.isfinite(features.filled(data)).all()
    assert np.isnan(features.compute(data)).any()


def test_running_means_may_be_longer_than_the_series() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 1))
    values[0, 1] = np.nan
    cut = running_mean(values, 8, cyclic=False)
    want = [[np.nanmean(v[: i + 1]) for i in range(5)] for v in values[..., 0]]
    np.testing.assert_allclose(cut[..., 0], want)
    round_ = running_mean(values[1:], 7, cyclic=True)
    twice = np.concatenate([values[1, :, 0]] * 3)
    np.testing.assert_allclose(round_[0, :, 0], [twice[4 + i : 11 + i].mean() for i in range(5)])


def test_trees_take_gaps_repeat_and_need_a_target(tmp_path: Path) -> None:
    fold = fold_of(MONTHLY)
    gaps = torch.rand(MONTHLY.forcings.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    data = replace(MONTHLY, forcings=MONTHLY.forcings.masked_fill(gaps, torch.nan))
    config = FinetuneConfig(window=12, cyclic=True)
    sizes = ModelConfig(forcings=data.forcing_names, statics=data.static_names)
    inputs = BaselineInputs(
        data=data,
        fold=fold,
        config=config,
        model_config=sizes,
        normaliser=normaliser_of(data, fold),
        folder=tmp_path,
    )
    outs = [fit_baseline("gradient_boosting", inputs).predict(data) for _ in range(2)]
    np.testing.assert_array_equal(outs[0]["mean"], outs[1]["mean"])
    held = fit_baseline("gradient_boosting", inputs).predict(data.subset(fold.test))
    assert nse(data, fold, held) > 0.9
    alone = replace(fold, validation=fold.validation[:0])
    assert np.isfinite(
        GradientBoosting.fit(data, alone, inputs.normaliser, cyclic=True).predict(data)["spread"]
    ).all()
    empty = replace(data, target=torch.full_like(data.target, torch.nan))
    for kind in (GradientBoosting, Ridge):
        with pytest.raises(InputError, match="no valid target"):
            kind.fit(empty, fold, inputs.normaliser, cyclic=True)


@pytest.mark.parametrize(("chosen", "found"), [(None, 0.4), (0.1, 0.1)])
def test_the_dropout_of_baselines_is_their_own_or_that_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: float | None, found: float
) -> None:
    used: list[float] = []
    monkeypatch.setattr(registry, "train_baseline", lambda of, *_, **__: used.append(of.dropout))
    monkeypatch.setattr(registry, "load", lambda *_: None)
    fold = fold_of(MONTHLY)
    config = FinetuneConfig(window=12, cyclic=True, baseline_dropout=chosen)
    sizes = ModelConfig(forcings=MONTHLY.forcing_names, statics=MONTHLY.static_names)
    inputs = BaselineInputs(data=MONTHLY, fold=fold, config=config, model_config=sizes,
                            normaliser=normaliser_of(MONTHLY, fold), folder=tmp_path)  # fmt: skip
    fit_baseline("lstm", inputs)
    assert used == [found]


def test_trees_have_the_settings_of_the_run() -> None:
    fold = fold_of(MONTHLY)
    small = TreeSettings(count=3, lr=0.2, leaves=4, min_samples=9, l2=1.0)
    fitted = GradientBoosting.fit(
        MONTHLY, fold, normaliser_of(MONTHLY, fold), cyclic=True, settings=small
    )
    # A tree of four leaves has seven nodes.
    assert [len(tree.roots) for tree in fitted.trees] == [3]
    assert all(len(tree.value) == 3 * 7 for tree in fitted.trees)
