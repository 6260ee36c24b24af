from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from stefaland.data.sampler import Draw, Sampler


def flat(draws: list[Draw]) -> list[tuple[int, int]]:
    return [pair for d in draws for pair in zip(d.rows.tolist(), d.starts.tolist(), strict=True)]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(8, 70), batch=st.integers(4, 20), world=st.integers(1, 4), epoch=st.integers(0, 9)
)
def test_ranks_divide_the_same_batches(n: int, batch: int, world: int, epoch: int) -> None:
    rows = np.arange(n) * 2
    whole = Sampler(rows=rows, starts=(3, 5), batch_size=batch, seed=7).epoch(epoch)
    ranks = [
        Sampler(rows=rows, starts=(3, 5), batch_size=batch, seed=7, rank=r, world_size=world).epoch(
            epoch
        )
        for r in range(world)
    ]
    assert len({len(r) for r in ranks}) == 1
    for i, draws in enumerate(zip(*ranks, strict=True)):
        joined = torch.cat([d.rows[d.part] for d in draws])
        torch.testing.assert_close(joined, whole[i].rows)
        assert all(d.part.stop > d.part.start for d in draws)
    assert all(3 <= start < 8 for _, start in flat(whole))


def test_every_row_once_and_epochs_differ() -> None:
    sampler = Sampler(rows=np.arange(50), starts=(0, 10), batch_size=8, seed=1)
    first, again, other = sampler.epoch(0), sampler.epoch(0), sampler.epoch(1)
    assert flat(first) == flat(again)
    assert flat(first) != flat(other)
    assert sorted(r for r, _ in flat(first)) == list(range(50))
    assert flat(Sampler(rows=np.arange(50), starts=(0, 10), batch_size=8, seed=2).epoch(0)) != flat(
        first
    )


def test_one_row_of_each_group_and_all_of_them_in_time() -> None:
    group = np.arange(40) // 4
    sampler = Sampler(rows=np.arange(40), starts=(0, 1), batch_size=16, group=group)
    seen: set[int] = set()
    for epoch in range(30):
        rows = [r for r, _ in flat(sampler.epoch(epoch))]
        assert sorted(group[rows]) == list(range(10))
        seen.update(rows)
    assert len(seen) == 40


@pytest.mark.parametrize("group", [None, np.arange(30) // 3])
def test_several_windows_of_each_location_are_shuffled_together(group: np.ndarray | None) -> None:
    sampler = Sampler(
        rows=np.arange(30), starts=(0, 1000), batch_size=7, seed=1, windows_per_cell=4, group=group
    )
    pairs = flat(sampler.epoch(0))
    rows = np.array([row for row, _ in pairs])
    labels = rows if group is None else group[rows]
    assert np.bincount(labels).tolist() == [4] * len(set(labels))
    assert len(set(pairs)) == len(pairs)
    assert (np.diff(np.flatnonzero(labels == labels[0])) < len(set(labels))).any()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9), batch=st.integers(1, 12),
    buffer=st.integers(1, 4), windows=st.integers(1, 3),
)  # fmt: skip
def test_shards_are_mixed_a_few_at_a_time_and_lie_together_in_a_batch(
    sizes: list[int], batch: int, buffer: int, windows: int
) -> None:
    shard = np.repeat(np.arange(len(sizes)) * 10, sizes)
    rows = np.arange(len(shard)) + 5
    sampler = Sampler(
        rows=rows,
        starts=(0, 9),
        batch_size=batch,
        seed=3,
        windows_per_cell=windows,
        shard=shard,
        buffer=buffer,
    )
    draws = sampler.epoch(1)
    drawn = torch.cat([draw.rows for draw in draws]).numpy() - 5
    assert np.bincount(drawn, minlength=len(rows)).tolist() == [windows] * len(rows)
    for draw in draws:
        labels = shard[draw.rows.numpy() - 5]
        assert (labels[1:] >= labels[:-1]).all()
    # No shard comes back once the buffer it belongs to is done.
    largest = windows * sum(sorted(sizes)[-buffer:])
    for label in set(shard.tolist()):
        where = [i for i, draw in enumerate(draws) if label in shard[draw.rows.numpy() - 5]]
        assert where[-1] - where[0] <= largest // batch + 1


def test_steps_per_epoch_sets_the_number_of_batches() -> None:
    for wanted in (1, 3, 11):
        draws = Sampler(
            rows=np.arange(10), starts=(0, 4), batch_size=4, steps_per_epoch=wanted
        ).epoch(0)
        assert [len(d.rows) for d in draws] == [4] * wanted


def test_empty_sets_are_refused() -> None:
    with pytest.raises(InputError, match="no locations"):
        Sampler(rows=np.zeros(0, np.int64), starts=(0, 1), batch_size=4)
    with pytest.raises(InputError, match="no window fits"):
        Sampler(rows=np.arange(3), starts=(0, 0), batch_size=4)
    with pytest.raises(InputError, match="one per rank"):
        Sampler(rows=np.arange(3), starts=(0, 1), batch_size=4, world_size=4).epoch(0)


def test_shards_are_read_whole_a_few_at_a_time_and_mixed() -> None:
    shard = np.repeat(np.arange(12), 20)
    sampler = Sampler(
        rows=np.arange(240), starts=(0, 1), batch_size=10, seed=3, shard=shard, buffer=3
    )
    rows = [r for r, _ in flat(sampler.epoch(0))]
    assert sorted(rows) == list(range(240))
    visits = [set(shard[rows[i : i + 60]]) for i in range(0, 240, 60)]
    assert all(len(v) == 3 for v in visits)
    assert set.union(*visits) == set(range(12))
    first = [len(set(shard[rows[i : i + 10]])) for i in range(0, 60, 10)]
    assert min(first) >= 2
    assert visits != [
        set(shard[[r for r, _ in flat(sampler.epoch(1))][i : i + 60]]) for i in range(0, 240, 60)
    ]
