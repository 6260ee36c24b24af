"""Windows drawn by their targets."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stefaland.data.target_windows import TargetWindows


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(3, 40), share=st.floats(0, 1), data=st.data())
def test_every_window_lies_in_the_period_and_holds_a_target_after_its_warm_up(
    seed: int, steps: int, share: float, data: st.DataObject
) -> None:
    window = data.draw(st.integers(1, steps))
    warmup = data.draw(st.integers(0, window - 1))
    first = data.draw(st.integers(0, steps - window))
    count = data.draw(st.integers(1, steps - window - first + 1))
    cyclic, every = data.draw(st.booleans()), data.draw(st.integers(1, steps))
    starts = (0, steps) if cyclic else (first, count)
    rng = np.random.default_rng(seed)
    known = rng.random((3, steps)) < share
    windows = TargetWindows.of(
        known, starts=starts, window=window, warmup=warmup, every=every, cyclic=cyclic
    )
    rows = rng.integers(0, 3, 50)
    drawn = windows.draw(rows, rng)
    assert drawn.min() >= starts[0]
    assert drawn.max() < sum(starts)
    counted = [
        known[row, (start + np.arange(warmup, window)) % steps].any()
        for row, start in zip(rows, drawn, strict=True)
    ]
    possible = [
        any(
            known[row, (start + np.arange(warmup, window)) % steps].any()
            for start in range(starts[0], sum(starts))
        )
        for row in rows
    ]
    assert counted == possible


def test_each_target_is_drawn_alike_also_at_the_ends_of_a_record() -> None:
    known = np.zeros((1, 30), bool)
    known[0, [0, 14, 29]] = True
    windows = TargetWindows.of(known, starts=(0, 26), window=5, warmup=0)
    drawn = windows.draw(np.zeros(3000, np.int64), np.random.default_rng(0))
    held = [((drawn <= day) & (day < drawn + 5)).mean() for day in (0, 14, 29)]
    np.testing.assert_allclose(held, 1 / 3, atol=0.03)


def test_windows_begin_at_every_nth_start_where_one_holds_the_target() -> None:
    known = np.zeros((2, 30), bool)
    known[0, 6:20], known[1, 29] = True, True
    windows = TargetWindows.of(known, starts=(2, 24), window=5, warmup=1, every=4)
    drawn = windows.draw(np.repeat([0, 1], 200), np.random.default_rng(0))
    assert {*drawn[:200]} == {2, 6, 10, 14, 18}
    assert {*drawn[200:]} == {25}
