"""Batches and trained weights are the same for cells read shard by shard and resident cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.checkpoints.checkpoint import load_checkpoint
from stefaland.config import MaskConfig, PretrainConfig, model_preset
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.sharded import ShardedCells
from stefaland.data.stream import StreamedWindows, training_windows
from stefaland.data.windows import Windows
from stefaland.folds.split import Fold
from stefaland.training.pretrain import pretrain
from stefaland.training.recipe import data_identity, training_sampler
from tests.synthetic import daily_cells

DATA = daily_cells(40, 60)
NORMALISER = fit_normaliser(DATA, torch.arange(40))
ORDER = np.random.default_rng(3).permutation(DATA.cell.numpy())


def sharded(identity: str = "a") -> tuple[ShardedCells, list[int]]:
    reads: list[int] = []

    def read(cells: np.ndarray) -> CellData:
        reads.append(len(cells))
        return DATA.subset(cells)

    group = None if DATA.group is None else np.asarray(DATA.group)[DATA.rows(ORDER).numpy()]
    cells = ShardedCells(
        shards=tuple(np.split(ORDER, [9, 17, 30])),
        read=read,
        time=DATA.time,
        forcing_names=DATA.forcing_names,
        static_names=DATA.static_names,
        identity=identity,
        group=group,
    )
    return cells, reads


def test_subsets_keep_shards_and_read_only_what_is_needed() -> None:
    cells, reads = sharded()
    wanted = np.concatenate([ORDER[2:4], ORDER[20:25]])
    some = cells.subset(wanted[::-1])
    assert [ids.tolist() for ids in some.shards] == [ORDER[2:4].tolist(), ORDER[20:25].tolist()]
    assert some.shard_of.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert reads == []
    assert len(some.readers()[1]()) == 5
    assert reads == [5]


def test_unknown_and_repeated_cells_are_refused() -> None:
    cells, _ = sharded()
    with pytest.raises(InputError, match="no cells 99999"):
        cells.subset(np.array([ORDER[0], 99999]))
    with pytest.raises(InputError, match="every cell in one shard"):
        ShardedCells(
            shards=(ORDER, ORDER),
            read=DATA.subset,
            time=DATA.time,
            forcing_names=(),
            static_names=(),
            identity="a",
        )


def test_batches_equal_those_of_resident_cells() -> None:
    cells, reads = sharded()
    names = DATA.forcing_names[::-1], DATA.static_names[:2]
    chosen = cells.selected(*names)
    streamed = training_windows(chosen, NORMALISER, 15)
    assert isinstance(streamed, StreamedWindows)
    config = PretrainConfig(window=15, batch_size=7, seed=4)
    sampler = training_sampler(chosen, chosen.rows(ORDER), (0, 46), config)
    assert sampler.shard is not None
    table = DATA.subset(ORDER).selected(*names)
    resident = Windows(table, NORMALISER, 15)
    draws = sampler.epoch(0)
    for one, other in zip(streamed.batches(draws), resident.batches(draws), strict=True):
        torch.testing.assert_close(one.forcings, other.forcings, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(one.statics, other.statics, rtol=0, atol=0, equal_nan=True)
        assert one.cell.tolist() == other.cell.tolist()
    assert sorted(reads) == [8, 9, 10, 13]


def test_the_identity_changes_with_values_and_cells() -> None:
    one, other = sharded("a")[0], sharded("b")[0]
    assert data_identity(one) != data_identity(other)
    assert data_identity(one) != data_identity(one.subset(ORDER[:30]))
    assert data_identity(one) == data_identity(sharded("a")[0])


def test_a_run_whose_disk_goes_away_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stefaland.data.stream.SHARDS_HELD", 2)
    monkeypatch.setattr("stefaland.training.recipe.SHARDS_MIXED", 1)
    cells, reads = sharded()
    model = model_preset(
        "stefaland-tiny", forcings=DATA.forcing_names, statics=DATA.static_names
    )  # fmt: skip
    config = PretrainConfig(
        window=15, batch_size=8, epochs=4, seed=1, mask=MaskConfig(window_min=2, window_max=5)
    )
    fold = Fold(
        name="all",
        kind="groups",
        train=ORDER[:32],
        validation=ORDER[32:],
        test=np.zeros(0, np.int64),
    )
    pretrain(cells, fold, model, config, NORMALISER, tmp_path / "whole")
    needed = len(reads)

    def read(ids: np.ndarray) -> CellData:
        if len(reads) > needed + 9:
            raise OSError("the disk went away")
        return cells.read(ids)

    with pytest.raises(OSError, match="went away"):
        pretrain(replace(cells, read=read), fold, model, config, NORMALISER, tmp_path / "cut")
    pretrain(cells, fold, model, config, NORMALISER, tmp_path / "cut")
    (one, data), (other, _) = (load_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert all(torch.equal(v, other.state_dict()[name]) for name, v in one.state_dict().items())
    assert data["training"]["best"]["loss"] < 2
