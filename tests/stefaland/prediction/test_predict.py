from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.core.errors import InputError
from stefaland.baselines.registry import BaselineInputs, fit_baseline
from stefaland.config import FinetuneConfig, model_preset
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.normalise import Normaliser, Scaling
from stefaland.folds.split import Fold
from stefaland.model.heads import Prediction
from stefaland.prediction.calibration import Calibration
from stefaland.prediction.distribution import (
    Distribution,
    combine,
    plan_windows,
    window_boundaries,
)
from stefaland.prediction.ensemble import calibrated
from stefaland.prediction.member import Member, load_member
from stefaland.prediction.predict import pass_size, predict_cells, predict_tables
from tests.synthetic import daily_cells, monthly_cells

DATA = daily_cells(12, 50)
EVERY = torch.arange(12)


class Echo(nn.Module):
    """A network that predicts the first forcing plus a shift."""

    def __init__(self, scale: float | None = 0.5, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))
        self.scale = scale

    def forward(self, batch: Batch) -> Prediction:
        mean = batch.forcings[..., :1] + self.shift
        return Prediction(mean, None if self.scale is None else torch.full_like(mean, self.scale))


def member(model: nn.Module, data=DATA, **settings: object) -> Member:
    scalings = dict(fit_normaliser(data, torch.arange(len(data))).scalings)
    scalings[data.target_names[0]] = scalings["precipitation"]
    return Member(
        model=model,
        normaliser=Normaliser(scalings),
        forcing_names=data.forcing_names,
        static_names=data.static_names,
        target_names=data.target_names,
        **{"window": 20, **settings},
    )


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60), window=st.integers(1, 60), warmup=st.integers(0, 30), cyclic=st.booleans()
)
def test_plan_covers_every_step_once_after_warmup(
    n: int, window: int, warmup: int, cyclic: bool
) -> None:
    if window > n or warmup >= window:
        with pytest.raises(InputError):
            plan_windows(n, window, warmup, cyclic)
        return
    seen: list[int] = []
    for stretch in plan_windows(n, window, warmup, cyclic):
        assert warmup <= stretch.keep.start < stretch.keep.stop <= window
        assert cyclic or 0 <= stretch.start <= n - window
        steps = np.arange(stretch.keep.start, stretch.keep.stop) + stretch.start
        seen.extend((steps % n).tolist() if cyclic else steps.tolist())
    assert sorted(seen) == list(range(0 if cyclic else warmup, n))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60), window=st.integers(1, 60), warmup=st.integers(0, 9),
    overlap=st.integers(0, 9), cyclic=st.booleans(),
)  # fmt: skip
def test_windows_fade_into_each_other_after_a_history(
    n: int, window: int, warmup: int, overlap: int, cyclic: bool
) -> None:
    if window > n or warmup + 2 * overlap >= window:
        with pytest.raises(InputError):
            plan_windows(n, window, warmup, cyclic, overlap)
        return
    total = np.zeros(n)
    for k, stretch in enumerate(plan_windows(n, window, warmup, cyclic, overlap)):
        history = warmup if k == 0 and not cyclic else warmup + overlap
        assert history <= stretch.keep.start < stretch.keep.stop <= window
        assert cyclic or 0 <= stretch.start <= n - window
        steps = np.arange(stretch.keep.start, stretch.keep.stop) + stretch.start
        weights = np.array(stretch.weights)
        largest = abs(np.diff(weights)).max(initial=0)
        assert (weights >= 0).all()
        assert largest <= 1 / (overlap + 1) + 1e-9
        assert cyclic or steps.max() < n
        np.add.at(total, steps % n, weights)
    np.testing.assert_allclose(total[0 if cyclic else warmup :], 1.0)
    assert (total[: 0 if cyclic else warmup] == 0).all()


def test_a_long_series_has_no_seams_between_windows(tmp_path: Path) -> None:
    data = daily_cells(24, 160, seed=5)
    fold = Fold(name="f", kind="groups", train=data.cell[:16].numpy(),
                validation=data.cell[16:20].numpy(), test=data.cell[20:].numpy())  # fmt: skip
    normaliser = fit_normaliser(data, data.rows(fold.train))
    network = model_preset("stefaland-tiny", forcings=data.forcing_names,
                           statics=data.static_names, d_model=8)  # fmt: skip
    config = FinetuneConfig(
        window=40, epochs=5, steps_per_epoch=4, batch_size=16, optimiser={"lr": 0.02}
    )
    inputs = BaselineInputs(data=data, fold=fold, config=config, model_config=network,
                            normaliser=normaliser, folder=tmp_path)  # fmt: skip
    fit_baseline("lstm", inputs)
    trained = load_member(tmp_path)
    assert trained.overlap_steps == 10
    apart = replace(trained, overlap_steps=0)
    assert change_at_boundaries(apart, data) > 4
    assert change_at_boundaries(trained, data) < 1.5
    # A window that covers the whole series has nothing to fade into.
    first = data.during(slice(0, 40))
    both = [predict_cells([one], first)["mean"] for one in (trained, apart)]
    np.testing.assert_array_equal(*both)


def change_at_boundaries(trained: Member, data: CellData) -> float:
    """Median absolute change of predictions at window boundaries, divided by that elsewhere."""
    series = predict_cells([trained], data)["mean"][..., 0]
    changes = np.median(abs(np.diff(series, axis=1)), 0)
    at = np.zeros(len(changes), bool)
    at[np.array(window_boundaries([trained], len(data.time))) - 1] = True
    return float(np.median(changes[at]) / np.median(changes[~at]))


def test_long_series_in_physical_units_and_cold_start_missing() -> None:
    out = predict_cells([member(Echo(), warmup_steps=6)], DATA, batch_size=5)
    assert out["mean"].shape == (12, 50, 1)
    assert np.isnan(out["mean"][:, :6]).all()
    np.testing.assert_allclose(out["mean"][:, 6:, 0], DATA.forcings[:, 6:, 0], rtol=1e-4, atol=1e-4)
    std = fit_normaliser(DATA, EVERY).scalings["precipitation"].std
    np.testing.assert_allclose(out["spread"][:, 6:], 0.5 * std, rtol=1e-5)
    assert out["flag"].tolist() == [0] * 12


def test_cyclic_prediction_has_no_cold_start() -> None:
    data = monthly_cells(8)
    out = predict_cells([member(Echo(), data, window=12, cyclic=True, warmup_steps=3)], data)
    np.testing.assert_allclose(out["mean"][..., 0], data.forcings[..., 0], rtol=1e-4, atol=1e-4)


def test_batches_do_not_change_the_result() -> None:
    one = predict_cells([member(Echo())], DATA, batch_size=100)
    three = predict_cells([member(Echo())], DATA, batch_size=3)
    np.testing.assert_array_equal(one["mean"], three["mean"])


def test_ensemble_adds_the_variance_of_means() -> None:
    shifts, scales = (0.0, 1.0, 3.0), (0.5, 1.0, None)
    out = predict_cells([member(Echo(s, m)) for m, s in zip(shifts, scales, strict=True)], DATA)
    std = fit_normaliser(DATA, EVERY).scalings["precipitation"].std
    want = std * np.sqrt((0.25 + 1.0) / 2 + np.var(shifts))
    np.testing.assert_allclose(out["spread"], want, rtol=1e-4)
    base = predict_cells([member(Echo())], DATA)["mean"]
    np.testing.assert_allclose(out["mean"], base + std * 4 / 3, rtol=1e-4, atol=1e-4)


def test_mixture_equals_sampling() -> None:
    pairs = ((1.0, 0.5), (4.0, 2.0))
    combined = combine(
        [Distribution(torch.tensor([mean]), torch.tensor([std])) for mean, std in pairs]
    )
    mean, spread = combined["mean"], combined["spread"]
    rng = np.random.default_rng(0)
    draws = np.concatenate([rng.normal(m, s, 400_000) for m, s in ((1, 0.5), (4, 2.0))])
    assert mean[0] == pytest.approx(draws.mean(), abs=0.01)
    assert spread[0] == pytest.approx(draws.std(), abs=0.01)


def test_single_point_network_has_unknown_spread() -> None:
    assert np.isnan(predict_cells([member(Echo(None))], DATA)["spread"]).all()


def test_spread_of_a_transformed_target_is_physical_and_grows_with_the_mean() -> None:
    one = member(Echo(0.3))
    scalings = dict(one.normaliser.scalings) | {"streamflow": Scaling(0.0, 0.4, "log")}
    out = predict_cells([replace(one, normaliser=Normaliser(scalings))], DATA)
    assert (out["mean"] >= 0).all()
    order = np.argsort(out["mean"].ravel())
    spread = out["spread"].ravel()[order]
    assert spread[-10:].mean() > 3 * spread[:10].mean()


def test_a_calibrated_spread_leaves_the_mean_of_a_transformed_target() -> None:
    one = member(Echo(0.3), calibration=Calibration(spread_factor=(3.0,)))
    scalings = dict(one.normaliser.scalings) | {"streamflow": Scaling(0.0, 0.4, "log")}
    one = replace(one, normaliser=Normaliser(scalings))
    plain, wide = predict_cells([one.uncalibrated()], DATA), predict_cells([one], DATA)
    np.testing.assert_array_equal(wide["mean"], plain["mean"])
    np.testing.assert_allclose(wide["spread"], 3.0 * plain["spread"], rtol=1e-5)


def test_spread_factor_calibrates() -> None:
    plain = predict_cells([member(Echo())], DATA)["spread"]
    wide = predict_cells([member(Echo(), calibration=Calibration(spread_factor=(1.7,)))], DATA)[
        "spread"
    ]
    np.testing.assert_allclose(wide, 1.7 * plain, rtol=1e-5)


def test_flags_take_the_highest_that_applies() -> None:
    forcings = DATA.forcings.clone()
    forcings[2] = torch.nan
    forcings[3, 4, 1] = 99.0
    forcings[4, 0, 0] = torch.nan
    filled = torch.zeros(12, dtype=torch.bool)
    filled[[2, 5]] = True
    data = replace(DATA, forcings=forcings, filled=filled)
    ranges = {"air_temperature": (-50.0, 60.0), "leak": (0.0, 1.0)}
    masked = torch.zeros(12, dtype=torch.bool)
    masked[7] = True
    members = [member(Echo(), ranges=ranges), member(Echo(), ranges=ranges)]
    out = predict_cells(members, data, masked=masked)
    assert out["flag"].tolist() == [0, 0, 3, 1, 0, 2, 0, 3, 0, 0, 0, 0]
    assert out["flag"].dtype == np.uint8
    assert np.isnan(out["mean"][[2, 7]]).all()
    assert np.isfinite(out["mean"][5]).all()
    wider = [members[0], replace(members[1], ranges={"air_temperature": (-200.0, 200.0)})]
    assert predict_cells(wider, data)["flag"][3] == 0


def test_variables_are_taken_by_name() -> None:
    flipped = replace(DATA, forcings=DATA.forcings.flip(-1), forcing_names=DATA.forcing_names[::-1])
    one, other = (predict_cells([member(Echo())], d)["mean"] for d in (DATA, flipped))
    np.testing.assert_array_equal(one, other)
    absent = replace(DATA, forcings=DATA.forcings[..., :1], forcing_names=("precipitatoin",))
    with pytest.raises(InputError) as caught:
        predict_cells([member(Echo())], absent)
    assert len(caught.value.faults) == 2
    assert 'Did you mean "precipitatoin"' in str(caught.value)


def test_members_must_agree_about_the_target() -> None:
    with pytest.raises(InputError, match="ensemble member 1"):
        predict_cells([member(Echo()), replace(member(Echo()), target_names=("snow",))], DATA)
    with pytest.raises(InputError, match="no member"):
        predict_cells([], DATA)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    """A small StefaLand with its pretrained encoder and an LSTM, as a run would load them."""
    data = daily_cells(40, 90)
    cells = data.cell.numpy()
    fold = Fold(
        name="f", kind="groups", train=cells[:24], validation=cells[24:32], test=cells[32:40]
    )
    folder = tmp_path_factory.mktemp("trained")
    model_config = model_preset(
        "stefaland-tiny", forcings=data.forcing_names, statics=data.static_names, d_model=32,
        d_feedforward=48,
    )  # fmt: skip
    normaliser = fit_normaliser(
        data, torch.arange(24), transforms={"precipitation": "log", data.target_names[0]: "log"}
    )
    config = FinetuneConfig(window=30, warmup_steps=10, epochs=1, steps_per_epoch=1, batch_size=8)
    inputs = BaselineInputs(
        data=data,
        fold=fold,
        config=config,
        model_config=model_config,
        normaliser=normaliser,
        folder=folder / "scratch",
    )
    lstm = replace(inputs, folder=folder / "lstm")
    return [*fit_baseline("scratch", inputs).members, *fit_baseline("lstm", lstm).members]


@pytest.mark.parametrize("tile", [1, 7, 32, 64, 100])
def test_a_cell_has_the_same_bits_in_a_tile_of_any_size(trained: list[Member], tile: int) -> None:
    data = daily_cells(130, 90)
    whole = predict_cells(trained, data)
    parts = [
        predict_cells(trained, data.take(rows)) for rows in torch.arange(len(data)).split(tile)
    ]
    for name in ("mean", "spread", "flag"):
        together = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(together.view(np.uint8), whole[name].view(np.uint8))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    shuffled = predict_cells(trained, data.take(order))
    np.testing.assert_array_equal(shuffled["mean"], whole["mean"][order.numpy()])


def test_tables_share_passes_and_come_back_in_order_with_the_same_bits(
    trained: list[Member],
) -> None:
    data = daily_cells(700, 90)
    whole = predict_cells(trained, data)
    masked = torch.zeros(700, dtype=torch.bool)
    masked[40:60] = masked[300] = True
    edges = [0, 1, 40, 60, 60, 310, 311, 700]

    def tables():
        for i, (first, last) in enumerate(pairwise(edges)):
            rows = torch.arange(first, last)
            yield f"tile {i}", data.take(rows), masked[rows]

    found = list(predict_tables(trained, tables()))
    assert [key for key, _ in found] == [f"tile {i}" for i in range(7)]
    together = {name: np.concatenate([predicted[name] for _, predicted in found]) for name in whole}
    assert (together["flag"][masked.numpy()] == 3).all()
    assert np.isnan(together["mean"][masked.numpy()]).all()
    clear = ~masked.numpy()
    for name in whole:
        np.testing.assert_array_equal(together[name][clear], whole[name][clear])


def test_a_table_is_returned_before_all_are_read(trained: list[Member]) -> None:
    size = pass_size(trained)
    data, read = daily_cells(size, 90), []

    def tables():
        for i in range(20):
            read.append(i)
            yield i, data, None

    found = predict_tables(trained, tables())
    assert next(found)[0] == 0
    assert len(read) <= torch.get_num_threads() + 2


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_the_number_of_threads(trained: list[Member], threads: int) -> None:
    data, before = daily_cells(300, 90), torch.get_num_threads()
    whole = predict_cells(trained, data)
    try:
        torch.set_num_threads(threads)
        other = predict_cells(trained, data.take(torch.arange(300).roll(77)))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for name in ("mean", "spread"):
        np.testing.assert_array_equal(np.roll(other[name], -77, 0), whole[name])


def test_passes_grow_as_windows_shrink() -> None:
    year, months = (member(Echo(), window=window) for window in (365, 12))
    assert (pass_size([year]), pass_size([months]), pass_size([months, year])) == (32, 256, 32)


class Compositions(nn.Module):
    """Compositions that change with the day's forcings."""

    def __init__(self, tilt: float) -> None:
        super().__init__()
        self.tilt = nn.Parameter(torch.tensor(tilt))

    def forward(self, batch: Batch) -> Prediction:
        odds = torch.stack([batch.forcings[..., 0], batch.forcings[..., 1] + self.tilt], -1)
        return Prediction(odds.softmax(-1), None)


def test_a_location_has_the_mean_over_time_and_the_spread_between_members() -> None:
    scalings = {
        **member(Echo()).normaliser.scalings,
        **{name: Scaling(0.0, 1.0) for name in ("sand", "clay")},
    }
    members = [
        Member(
            model=Compositions(tilt),
            normaliser=Normaliser(scalings),
            forcing_names=DATA.forcing_names,
            static_names=DATA.static_names,
            target_names=("sand", "clay"),
            window=20,
            warmup_steps=5,
        )
        for tilt in (-1.0, 0.5)
    ]
    ((_, out),) = predict_tables(members, [("a", DATA, None)], task="composition")
    each = np.stack(
        [predict_cells([one], DATA)["mean"][:, 5:].astype(np.float64).mean(1) for one in members]
    )
    assert out["mean"].shape == (12, 2)
    np.testing.assert_allclose(out["mean"], each.mean(0), rtol=1e-5)
    np.testing.assert_allclose(out["mean"].sum(1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(out["spread"], each.std(0), rtol=1e-4)


def test_reduced_precision_stays_near_single(trained: list[Member]) -> None:
    data = daily_cells(20, 90)
    single = predict_cells(trained, data)["mean"]
    ((_, half),) = predict_tables(trained, [(0, data, None)], dtype=torch.bfloat16)
    scale = np.nanstd(single)
    assert 0 < np.nanmax(np.abs(half["mean"] - single)) < 0.1 * scale


@pytest.mark.parametrize("scale", [0.05, 0.5, 4.0])
def test_an_ensemble_holds_ninety_per_cent_of_values_it_was_not_calibrated_on(scale: float) -> None:
    data = daily_cells(200, 50)
    std = fit_normaliser(data, torch.arange(200)).scalings["precipitation"].std
    noise = torch.randn(200, 50, 1, generator=torch.Generator().manual_seed(4))
    data = replace(data, target=data.forcings[..., :1] + 0.5 * std * noise)
    cells = data.cell.numpy()
    fold = Fold(
        name="f", kind="groups", train=cells[:50], validation=cells[50:120], test=cells[120:]
    )
    members = [member(Echo(scale, shift), data) for shift in (-0.1, 0.1)]
    ensemble = calibrated(members, data, fold)
    test = data.subset(fold.test)
    found = ensemble.predict(test)
    inside = np.abs(found["mean"] - test.target.numpy()) <= 1.6449 * found["spread"]
    assert np.nanmean(inside) == pytest.approx(0.9, abs=0.03)
    pointwise = calibrated([member(Echo(None), data)], data, fold)
    assert pointwise.calibration.spread_factor is None
