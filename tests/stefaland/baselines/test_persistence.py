"""Persistence: it knows the past of a site, never the day it predicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.baselines.persistence import Persistence
from stefaland.data.cell_data import CellData
from stefaland.folds.split import Fold, Locations, make_folds
from stefaland.folds.visible import held_out_part
from tests.synthetic import daily_cells
from workflows.config.load import load_config

DATA = daily_cells(12, 200)
AT = Locations(DATA.cell.numpy(), DATA.lonlat.numpy(), DATA.group)


def fold_of(kind: str = "time") -> Fold:
    return make_folds(
        kind, AT, k=3, train_period=("2001-01-01", "2001-04-30"),
        validation_period=("2001-05-01", "2001-05-31"), test_period=("2001-06-06", "2001-07-19"),
        warmup_days=5,
    )[0]  # fmt: skip


def reference(data: CellData, row: int, day: int) -> float:
    """The last valid value before the day, by looking back one day after the other."""
    for earlier in range(day - 1, -1, -1):
        value = float(data.target[row, earlier, 0])
        if np.isfinite(value):
            return value
    return np.nan


@pytest.mark.parametrize("warmup", [0, 5])
def test_it_is_the_last_value_before_the_day(warmup: int) -> None:
    target = DATA.target.clone()
    target[0, 100:160] = torch.nan
    target[1] = torch.nan
    target[1, 170] = 4.0
    # Days between the periods that no part may read are no past.
    target[2:, 151 : 156 - warmup] = torch.nan
    data = replace(DATA, target=target)
    fold = fold_of()
    held, _ = held_out_part(data, fold, warmup)
    out = Persistence.fit(data, fold).predict(held)
    first = 156 - warmup
    for row in range(12):
        want = [reference(data, row, first + i) for i in range(len(held.time))]
        np.testing.assert_allclose(out["mean"][row, :, 0], want, rtol=1e-6)
    assert np.isnan(out["mean"][1, : 171 - first]).all()
    assert np.isnan(out["spread"][1, : 171 - first]).all()
    assert (out["mean"][1, 171 - first :] == 4.0).all()
    assert (out["spread"][2:] > 0).all()


def test_its_spread_is_that_of_each_sites_changes() -> None:
    fold = fold_of()
    held, _ = held_out_part(DATA, fold, 5)
    strange = replace(held, cell=torch.cat([held.cell[:-1], torch.tensor([9999])]))
    spread = Persistence.fit(DATA, fold).predict(strange)["spread"]
    errors = [
        [float(DATA.target[row, day, 0]) - reference(DATA, row, day) for day in range(151)]
        for row in range(12)
    ]
    expected = np.sqrt(np.nanmean(np.square(errors), 1))
    np.testing.assert_allclose(spread[:-1, -1, 0], expected[:-1], rtol=1e-6)
    np.testing.assert_allclose(
        spread[-1, -1, 0], np.sqrt(np.nanmean(np.square(errors))), rtol=1e-6
    )  # fmt: skip


def test_no_prediction_knows_its_own_day_or_a_later_one() -> None:
    fold = fold_of()
    held, _ = held_out_part(DATA, fold, 5)
    model = Persistence.fit(DATA, fold)
    target = held.target.clone()
    target[:, 20:] = 1e6
    a, b = (model.predict(d)["mean"] for d in (held, replace(held, target=target)))
    np.testing.assert_array_equal(a[:, :21], b[:, :21])
    assert (b[:, 21:] == 1e6).all()


def test_no_fit_sees_the_test_days() -> None:
    fold = fold_of()
    target = DATA.target.clone()
    target[:, 151:] = 1e6
    a, b = (Persistence.fit(d, fold) for d in (DATA, replace(DATA, target=target)))
    np.testing.assert_array_equal(a.last, b.last)
    np.testing.assert_array_equal(a.spread, b.spread)


def test_without_observations_the_last_known_value_stays() -> None:
    fold = fold_of()
    held, _ = held_out_part(DATA, fold, 5)
    blind = replace(held, target=None, target_names=())
    out = Persistence.fit(DATA, fold).predict(blind)["mean"]
    assert (out == out[:, :1]).all()
    np.testing.assert_allclose(out[:, 0, 0], [reference(DATA, row, 151) for row in range(12)])


def test_a_test_before_the_training_has_no_past_in_it() -> None:
    fold = replace(
        fold_of(), train_period=("2001-03-01", "2001-06-30"), validation_period=None,
        test_period=("2001-01-01", "2001-02-20"),
    )  # fmt: skip
    held, _ = held_out_part(DATA, fold, 5)
    assert np.isnan(Persistence.fit(DATA, fold).predict(held)["mean"][:, 0]).all()


def test_held_out_sites_have_no_past() -> None:
    with pytest.raises(InputError, match="a held-out site has no earlier observations"):
        Persistence.fit(DATA, fold_of("groups"))
    with pytest.raises(InputError, match='"persistence" with folds of kind groups'):
        load_config("delaware", ["finetune.baselines=[persistence]"])
