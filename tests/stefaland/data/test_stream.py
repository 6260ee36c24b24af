from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.sampler import Sampler
from stefaland.data.stream import ShardedWindows, StreamedWindows, training_windows
from stefaland.data.windows import Windows
from tests.synthetic import daily_cells

DATA = daily_cells(40, 60)
NORMALISER = fit_normaliser(DATA, torch.arange(40))
RESIDENT = Windows(DATA, NORMALISER, 15)


def assert_same(a: Batch, b: Batch) -> None:
    for field in fields(Batch):
        one, other = getattr(a, field.name), getattr(b, field.name)
        assert (one is None) == (other is None), field.name
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_what_is_done_with_each_tensor_of_a_batch_keeps_what_is_absent() -> None:
    whole = RESIDENT.gather(torch.arange(6), torch.arange(6))
    assert whole.categorical is None
    parts = [whole.each(lambda values, i=i: values[i : i + 2]) for i in (0, 2, 4)]
    assert_same(parts[0].each(lambda *values: torch.cat(values), *parts[1:]), whole)


class Reader:
    """Shards of ten cells that count how often they are read."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def shards(self) -> list[Callable[[], CellData]]:
        def read(i: int) -> CellData:
            self.reads.append(i)
            return DATA.take(torch.arange(10 * i, 10 * i + 10))

        return [lambda i=i: read(i) for i in range(4)]


def test_shards_have_the_batches_of_resident_windows() -> None:
    reader = Reader()
    sharded = ShardedWindows(reader.shards(), [10] * 4, NORMALISER, 15, kept=2)
    assert len(sharded) == 40
    assert sharded.starts() == RESIDENT.starts()
    draws = Sampler(rows=np.arange(40), starts=(0, 46), batch_size=8, seed=1).epoch(0)
    for one, other in zip(sharded.batches(draws), RESIDENT.batches(draws), strict=True):
        assert_same(one, other)


def test_a_sampler_with_shards_reads_each_of_them_once() -> None:
    reader = Reader()
    sharded = ShardedWindows(reader.shards(), [10] * 4, NORMALISER, 15, kept=2)
    sampler = Sampler(
        rows=np.arange(40), starts=(0, 46), batch_size=5, shard=sharded.shard_of, buffer=2
    )
    list(sharded.batches(sampler.epoch(0)))
    assert sorted(reader.reads) == [0, 1, 2, 3]


def test_coming_shards_are_read_ahead_and_never_more_than_may_be_kept() -> None:
    held: list[int] = []
    reader = Reader()

    class Watched(ShardedWindows):
        def _begin(self, number: int) -> None:
            super()._begin(number)
            held.append(len(self._open))

    sharded = Watched(reader.shards(), [10] * 4, NORMALISER, 15, kept=2)
    sampler = Sampler(
        rows=np.arange(40),
        starts=(0, 46),
        batch_size=5,
        shard=sharded.shard_of,
        buffer=1,
        windows_per_cell=2,
    )
    batches = sharded.batches(sampler.epoch(0))
    next(batches)
    assert held == [1, 2, 2]
    assert len(list(batches)) == 15
    assert max(held) == 2
    assert sorted(reader.reads) == [0, 1, 2, 3]


def test_shards_that_all_fit_are_read_once_in_all_epochs() -> None:
    reader = Reader()
    sharded = ShardedWindows(reader.shards(), [10] * 4, NORMALISER, 15, kept=4)
    for epoch in range(3):
        draws = Sampler(rows=np.arange(40), starts=(0, 46), batch_size=8, seed=1).epoch(epoch)
        for one, other in zip(sharded.batches(draws), RESIDENT.batches(draws), strict=True):
            assert_same(one, other)
    assert sorted(reader.reads) == [0, 1, 2, 3]


def test_streamed_equals_resident_and_keeps_the_order() -> None:
    draws = Sampler(rows=np.arange(40), starts=(0, 46), batch_size=8, seed=1).epoch(0)
    streamed = StreamedWindows(RESIDENT, "cpu")
    for one, other in zip(streamed.batches(draws), RESIDENT.batches(draws), strict=True):
        assert_same(one, other)
    assert list(streamed.batches([])) == []


def test_errors_of_a_reader_are_raised_in_the_training_thread() -> None:
    def fail() -> CellData:
        raise OSError("the disk went away")

    sharded = ShardedWindows([fail], [10], NORMALISER, 15)
    draws = Sampler(rows=np.arange(10), starts=(0, 46), batch_size=4).epoch(0)
    with pytest.raises(OSError, match="went away"):
        list(StreamedWindows(sharded, "cpu").batches(draws))
    short = ShardedWindows([lambda: DATA.take(torch.arange(3))], [10], NORMALISER, 15)
    with pytest.raises(InputError, match="3 cells"):
        list(StreamedWindows(short, "cpu").batches(draws))


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    batches = StreamedWindows(RESIDENT, "cpu").batches(
        Sampler(rows=np.arange(40), starts=(0, 46), batch_size=2).epoch(0)
    )
    next(batches)
    batches.close()
    assert threading.active_count() <= before


def test_on_a_cpu_everything_is_resident() -> None:
    assert isinstance(training_windows(DATA, NORMALISER, 15), Windows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_streamed_on_a_gpu_equals_resident() -> None:
    draws = Sampler(rows=np.arange(40), starts=(0, 46), batch_size=8, seed=1).epoch(0)
    streamed = training_windows(DATA, NORMALISER, 15, device="cuda", resident=False)
    for one, other in zip(streamed.batches(draws), RESIDENT.batches(draws), strict=True):
        assert_same(one.to("cpu"), other)
