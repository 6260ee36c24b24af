"""Running totals: amounts of days whatever the resets, steps and gaps, and never a wrong one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.times.axis import TimeAxis
from pipeline.times.calendars import DAY
from pipeline.times.totals import Totals, daily_rates, found_resets, restarts

HOUR = 3600
DAYS = 5


def running(amounts: np.ndarray, resets: tuple[int, ...], begin: int = 0) -> np.ndarray:
    """Return totals [N] since the last reset at the end of each hour, from amounts [N]."""
    total, totals = 0.0, []
    for hour, amount in enumerate(amounts):
        if (begin + hour * HOUR) % DAY in resets:
            total = 0.0
        total = total + amount
        totals.append(total)
    return np.array(totals)


@st.composite
def series(draw: st.DrawFn) -> dict:
    step = draw(st.sampled_from([1, 3, 6]))
    resets = draw(st.sampled_from([(), (0,), (6,), (0, 12), (0, 6, 12, 18)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dropped = rng.random(24 * DAYS // step) < draw(st.sampled_from([0.0, 0.1, 0.3]))
    missing = rng.random((24 * DAYS // step, 3)) < draw(st.sampled_from([0.0, 0.1, 0.3]))
    starts = draw(st.sampled_from([0, 6, -7]))
    return {"step": step, "resets": tuple(h * HOUR for h in resets), "rng": rng, "starts": starts,
            "dropped": dropped, "missing": missing}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(series())
def test_amounts_of_days_are_right_or_missing(case: dict) -> None:
    hours = 24 * DAYS
    amounts = case["rng"].gamma(0.3, 5.0, (hours, 3))
    totals = np.stack([running(amounts[:, i], case["resets"]) for i in range(3)], 1)
    times = np.arange(1, hours + 1) * HOUR
    at = slice(case["step"] - 1, None, case["step"])
    values = np.where(case["missing"], np.nan, totals[at])[~case["dropped"]]
    known = times[at][~case["dropped"]]
    begins = np.arange(-1, DAYS) * DAY + case["starts"] * HOUR
    found = daily_rates(values, known, restarts(known, case["resets"]), begins, begins + DAY)
    shown = {int(t): np.isfinite(v) for t, v in zip(known, values, strict=True)}
    nothing = np.zeros(3, bool)
    for day, begin in enumerate(begins):
        inside = (times > begin) & (times <= begin + DAY)
        # No total shows the amount before the first hour, unless that is a reset.
        begin_is_reset = begin % DAY in case["resets"]
        needed = [begin + DAY]
        needed += [begin + h for h in range(HOUR, DAY, HOUR) if (begin + h) % DAY in case["resets"]]
        needed += [] if begin_is_reset else [begin]
        expected = np.all([shown.get(int(t), nothing) for t in needed], axis=0)
        if begin < 0:
            expected = expected & False
        if inside.sum() == 24:
            np.testing.assert_array_equal(np.isfinite(found[day]), expected)
            right = amounts[inside].sum(0)
            np.testing.assert_allclose(found[day][expected], right[expected], rtol=1e-10)
        elif begin >= 0:
            assert np.isnan(found[day]).all()


def test_single_precision_of_a_long_total_is_kept() -> None:
    times = np.arange(1, 49) * HOUR
    totals = 1e7 + 0.25 * np.arange(48.0)[:, None]
    begins = np.array([0, DAY]) + HOUR
    found = daily_rates(totals, times, restarts(times, ()), begins[:1], begins[:1] + DAY)
    assert found.item() == 6.0


@pytest.mark.parametrize("bucket", [100.0, None])
def test_buckets_tip_anywhere(bucket: float | None) -> None:
    times = np.arange(0, 49) * HOUR
    whole = np.cumsum(np.linspace(1.0, 9.0, 49))[:, None] * np.array([1.0, 0.1])
    values = whole % 100.0
    begins = np.array([0, DAY])
    found = daily_rates(values, times, restarts(times, ()), begins, begins + DAY, bucket=bucket,
                        fall=None if bucket else 1.0)  # fmt: skip
    right = whole[[24, 48]] - whole[[0, 24]]
    if bucket:
        np.testing.assert_allclose(found, right)
    else:
        # Without the size, the amount of a day with a fall is unknown.
        assert np.isnan(found[1, 0])
        np.testing.assert_allclose(found[0], right[0])
        np.testing.assert_allclose(found[1, 1], right[1, 1])


def test_a_part_of_a_day_is_scaled_where_the_entry_allows_it() -> None:
    times = np.arange(1, 25) * HOUR
    values = np.cumsum(np.ones(24))[:, None].copy()
    values[20:] = np.nan
    begins = np.array([0])
    bare = daily_rates(values, times, restarts(times, (0,)), begins, begins + DAY)
    assert np.isnan(bare).all()
    scaled = daily_rates(values, times, restarts(times, (0,)), begins, begins + DAY, min_share=0.8)
    assert scaled.item() == pytest.approx(24.0)


def test_intervals_need_the_times_at_both_ends() -> None:
    times = np.array([0, 6, 12, 18, 24, 30]) * HOUR
    begins = np.array([0, DAY])
    found = Totals(times, restarts(times, ()), begins, begins + DAY)
    assert found.first.tolist() == [0, 4]
    assert found.count.tolist() == [5, 2]
    assert found.covered().tolist() == [DAY, 6 * HOUR]


@pytest.mark.parametrize("resets", [(0,), (0, 12 * HOUR), (6 * HOUR, 18 * HOUR), ()])
@pytest.mark.parametrize("sign", [1, -1])
def test_resets_are_found_where_totals_fall(resets: tuple[int, ...], sign: int) -> None:
    rng = np.random.default_rng(4)
    amounts = rng.gamma(0.2, 3.0, (24 * 4, 30))
    totals = np.stack([running(amounts[:, i], resets) for i in range(30)], 1)
    noise = rng.normal(0, 1e-5 * totals.max(), totals.shape)
    times = np.arange(1, 97) * HOUR
    assert found_resets([(times, sign * (totals + noise))]) == resets
    assert found_resets([(times[2::3], sign * totals[2::3])]) == resets


def test_other_series_are_not_taken_for_running_totals() -> None:
    rng = np.random.default_rng(5)
    times = np.arange(0, 97) * HOUR
    rain = rng.gamma(0.2, 3.0, (97, 30))
    warmth = 280 + 8 * np.sin(2 * np.pi * times / DAY)[:, None] + rng.normal(0, 1, (97, 30))
    of_days = np.repeat(rng.gamma(1.0, 1.0, (5, 30)), 24, axis=0)[:97]
    dry = np.zeros((97, 30))
    for values in (rain, warmth, of_days, dry, np.full((97, 30), np.nan)):
        assert not found_resets([(times, values)])


def test_totals_of_days_need_a_fall_or_many_rises() -> None:
    rng = np.random.default_rng(6)
    times = np.arange(40) * DAY
    amounts = rng.gamma(0.4, 5.0, (40, 50))
    assert found_resets([(times, amounts)]) == (0,)
    assert found_resets([(times, np.cumsum(amounts, 0))]) == ()
    rising = np.cumsum(amounts, 0)[:3]
    assert found_resets([(times[:3], rising)]) is None
    assert found_resets([(times[:3], rising)], daily_reset=True) == (0,)


def test_months_of_unequal_length_show_no_resets() -> None:
    times = np.array([0, 31, 59, 90]) * DAY
    assert found_resets([(times, np.arange(8.0).reshape(4, 2))]) is None
    assert found_resets([(times[[0, 2]], np.ones((2, 2)))]) is None


def test_temperature_that_rises_till_noon_is_no_total() -> None:
    times = np.arange(4 * 24) * 3600
    clock = times // 3600 % 24
    warm = 285.0 - np.abs(12.0 - clock)[:, None] * np.ones((1, 3))
    assert found_resets([(times, warm)]) is None
    # One that falls once a day looks like a total.
    assert found_resets([(times, 273.0 + clock[:, None])]) == (23 * HOUR,)


@pytest.mark.parametrize("hours", [1e308, 24, -1, (0, 30)])
def test_hours_of_no_day_are_refused(hours: object) -> None:
    with pytest.raises(ValidationError, match="not hours from 0 to 23"):
        TimeAxis(resets=hours)
