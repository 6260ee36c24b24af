from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.data.cell_data import fit_normaliser
from stefaland.data.normalise import Normaliser, Scaling
from stefaland.data.sampler import Sampler
from stefaland.data.windows import Windows, year_fraction
from tests.synthetic import daily_cells, monthly_cells

DATA = daily_cells(10, 60)
EVERY = torch.arange(10)


def test_windows_gather_the_normalised_values_of_their_cells_and_days() -> None:
    normaliser = fit_normaliser(DATA, EVERY)
    windows = Windows(DATA, normaliser, 20)
    rows, starts = torch.tensor([7, 2, 7]), torch.tensor([0, 33, 40])
    batch = windows.gather(rows, starts)
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        want = DATA.forcings[row, start : start + 20]
        got = normaliser.inverse(batch.forcings[i], DATA.forcing_names)
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
        target = normaliser.inverse(batch.target[i], DATA.target_names)
        torch.testing.assert_close(
            target, DATA.target[row, start : start + 20], atol=1e-4, rtol=1e-4, equal_nan=True
        )
    assert batch.cell.tolist() == DATA.cell[rows].tolist()
    torch.testing.assert_close(batch.day_of_year[1], torch.arange(33, 53) / 365)


def test_cyclic_windows_wrap_and_others_stay_inside() -> None:
    data = monthly_cells(8)
    normaliser = fit_normaliser(data, torch.arange(8))
    cyclic = Windows(data, normaliser, 12, cyclic=True)
    assert cyclic.starts() == (0, 12)
    one = cyclic.gather(torch.tensor([3]), torch.tensor([0])).forcings
    later = cyclic.gather(torch.tensor([3]), torch.tensor([5])).forcings
    torch.testing.assert_close(later, one.roll(-5, dims=1))
    assert Windows(DATA, fit_normaliser(DATA, EVERY), 20).starts() == (0, 41)


def test_period_limits_the_starts() -> None:
    windows = Windows(DATA, fit_normaliser(DATA, EVERY), 20)
    assert windows.starts(("2001-01-11", "2001-02-09")) == (10, 11)
    with pytest.raises(InputError, match="at least 20"):
        windows.starts(("2001-01-11", "2001-01-15"))
    with pytest.raises(InputError, match="dates within"):
        windows.starts(("1999-01-11", "1999-01-15"))


def test_statistics_depend_on_their_rows_and_period_only() -> None:
    spoiled = DATA.forcings.clone()
    spoiled[5:] = 1e6
    spoiled[:, 30:] = 1e6
    whole = fit_normaliser(
        DATA.take(torch.arange(5)), torch.arange(5), ("2001-01-01", "2001-01-30")
    )
    part = fit_normaliser(
        replace(DATA, forcings=spoiled), torch.arange(5), ("2001-01-01", "2001-01-30")
    )
    assert whole.scalings["precipitation"] == part.scalings["precipitation"]


def test_rows_by_cell_id() -> None:
    assert DATA.rows(np.array([103, 100])).tolist() == [1, 0]
    assert DATA.subset(np.array([103, 100])).cell.tolist() == [103, 100]
    assert DATA.subset(np.array([103])).group.tolist() == [0]
    with pytest.raises(InputError, match=r"no cells 1, 2 \(2 in all\)"):
        DATA.rows(np.array([100, 1, 2]))


def test_bad_tables_are_refused_together() -> None:
    gap = DATA.time.copy()
    gap[30:] += 3
    with pytest.raises(InputError) as caught:
        replace(DATA, time=gap, statics=DATA.statics[:, :2], cell=DATA.cell * 0)
    text = str(caught.value)
    assert len(caught.value.faults) == 3
    assert "a step of 4 days after 2001-01-30" in text
    with pytest.raises(InputError, match="at most the 60 of the data"):
        Windows(DATA, fit_normaliser(DATA, EVERY), 61)


def test_negative_rain_under_a_log_is_an_error_and_not_a_nan() -> None:
    wet = DATA.forcings.clone()
    wet[3, 5, 0] = -2.0
    wet[3, 6, 1] = torch.inf
    scalings = dict(fit_normaliser(DATA, EVERY).scalings) | {"precipitation": Scaling(0, 1, "log")}
    with pytest.raises(InputError) as caught:
        Windows(replace(DATA, forcings=wet), Normaliser(scalings), 20)
    assert "1 values below 0" in str(caught.value)
    assert "infinite" in str(caught.value)


def test_missing_inputs_stay_missing() -> None:
    holes = DATA.forcings.clone()
    holes[4, 10, 0] = torch.nan
    data = replace(DATA, forcings=holes)
    batch = Windows(data, fit_normaliser(data, EVERY), 20).gather(
        torch.tensor([4]), torch.tensor([5])
    )
    assert batch.forcings.isnan().nonzero().tolist() == [[0, 5, 0]]


def test_batches_equal_gathers_and_parts_are_slices() -> None:
    windows = Windows(DATA, fit_normaliser(DATA, EVERY), 20)
    draws = Sampler(rows=np.arange(10), starts=(0, 41), batch_size=4).epoch(0)
    for draw, batch in zip(draws, windows.batches(draws), strict=True):
        torch.testing.assert_close(batch.forcings, windows.gather(draw.rows, draw.starts).forcings)
    halves = Sampler(rows=np.arange(10), starts=(0, 41), batch_size=4, rank=1, world_size=2).epoch(
        0
    )
    for draw, part in zip(halves, windows.batches(halves), strict=True):
        want = windows.gather(draw.rows[draw.part], draw.starts[draw.part])
        torch.testing.assert_close(part.forcings, want.forcings)


def test_year_fraction_knows_leap_years() -> None:
    shares = year_fraction(np.array(["2000-12-31", "2001-12-31", "2001-01-01"], "datetime64[D]"))
    np.testing.assert_allclose(shares, [365 / 366, 364 / 365, 0.0], rtol=1e-6)
