"""Batches of several tables."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stefaland.data.cell_data import fit_normaliser
from stefaland.data.mixture import MixedSampler, Mixture, _divided
from stefaland.data.sampler import Sampler
from stefaland.data.windows import Windows
from tests.synthetic import daily_cells


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4), seed=st.integers(0, 99),
    steps=st.none() | st.integers(4, 40), data=st.data(),
)  # fmt: skip
def test_each_table_has_its_proportion_of_the_batches(
    sizes: list[int], seed: int, steps: int | None, data: st.DataObject
) -> None:
    weights = [data.draw(st.floats(0.1, 10)) for _ in sizes]
    offsets = tuple(int(n) for n in np.cumsum([0, *sizes[:-1]]))
    parts = tuple(
        Sampler(rows=np.arange(size), starts=(0, 5), batch_size=4, seed=seed) for size in sizes
    )
    sampler = MixedSampler(parts, tuple(weights), offsets, seed, steps)
    for epoch in (0, 3):
        draws = sampler.epoch(epoch)
        assert len(draws) == (steps or sum(-(-size // 4) for size in sizes))
        number = [np.searchsorted(offsets, draw.rows.numpy(), side="right") - 1 for draw in draws]
        assert all(len(np.unique(of_batch)) == 1 for of_batch in number)
        counts = np.bincount([of_batch[0] for of_batch in number], minlength=len(sizes))
        wanted = np.asarray(weights) / sum(weights) * len(draws)
        assert (np.abs(counts - wanted) <= len(sizes)).all()
        assert counts.min() >= 1


def test_each_table_has_a_batch_however_small_its_weight() -> None:
    assert _divided(3, [0.1, 0.1, 10.0]) == [1, 1, 1]
    assert _divided(2, [1.0, 1.0, 1.0]) == [1, 1, 1]
    assert _divided(12, [0.01, 1.0, 2.0]) == [1, 4, 7]


def test_a_batch_is_that_of_its_table() -> None:
    tables = [daily_cells(6, 40, seed=1), daily_cells(9, 60, seed=2)]
    windows = [
        Windows(table, fit_normaliser(table, torch.arange(len(table))), length)
        for table, length in zip(tables, (10, 20), strict=True)
    ]
    samplers = tuple(
        Sampler(rows=np.arange(len(one)), starts=one.starts(), batch_size=3) for one in windows
    )
    draws = MixedSampler(samplers, (1.0, 1.0), (0, 6), seed=0).epoch(0)
    mixture = Mixture(tuple(windows), (0, 6), torch.device("cpu"))
    for draw, batch in zip(draws, mixture.batches(draws), strict=True):
        number = int(draw.rows[0] >= 6)
        alone = windows[number].gather(draw.rows - 6 * number, draw.starts)
        torch.testing.assert_close(batch.forcings, alone.forcings, equal_nan=True)
        assert torch.equal(batch.cell, alone.cell)
