"""The parts of a cell table that a fit may read under a fold, and a prediction of its test.

Finetuning, the baselines and the finetune stage read cell tables through these functions alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import bad_input
from stefaland.data.cell_data import CellData
from stefaland.folds.split import Fold

LABEL_SEED = 0x1ABE1
"""Seed of the order in which groups of cells lose their targets (`with_fewer_labels`)."""


def training_part(data: CellData, fold: Fold) -> tuple[CellData, CellData]:
    """Training and validation cells, with targets outside their periods removed.

    A fit may read nothing else: neither test cells nor targets of test days are in it. Raises
    `InputError` for a table without a target.
    """
    if data.target is None:
        raise bad_input("cell table", "no target", "a target to train on")
    train, validation = data.subset(fold.train), data.subset(fold.validation)
    return (
        _hide_outside(train, fold.train_period),
        _hide_outside(validation, fold.validation_period or fold.train_period),
    )


def training_days(data: CellData, fold: Fold) -> tuple[CellData, CellData]:
    """Training and validation cells in their periods alone, so that no other day is read at all."""
    train, validation = training_part(data, fold)
    late = fold.validation_period or fold.train_period
    return (
        train.during(train.steps(fold.train_period)),
        validation.during(validation.steps(late)),
    )


def _hide_outside(data: CellData, period: tuple[str, str] | None) -> CellData:
    if period is None or data.target is None:
        return data
    when = data.steps(period)
    target = torch.full_like(data.target, torch.nan)
    target[:, when] = data.target[:, when]
    return replace(data, target=target)


def without_test(data: CellData, fold: Fold) -> CellData:
    """The table with the targets that train or validate alone; all others are missing (NaN).

    What is chosen from it cannot depend on the test.
    """
    used, _, _ = visible_part(data, fold)
    assert data.target is not None
    assert used.target is not None
    target = torch.full_like(data.target, torch.nan)
    target[data.rows(used.cell)] = used.target
    return replace(data, target=target)


def has_target(target: Tensor) -> Tensor:
    """Mask [N] of the cells with any value of a target [N, T, O]."""
    return (~target.isnan()).flatten(1).any(1)


def with_fewer_labels(data: CellData, fold: Fold, fraction: float) -> CellData:
    """The table with the targets of a fraction of the training and validation sites alone.

    Of each part at least one group of cells keeps them. Those of a smaller fraction are among those
    of a larger one, and they are the same for each model and seed.
    """
    if data.target is None or fraction >= 1:
        return data
    target = data.target.clone()
    groups = data.cell.numpy() if data.group is None else np.asarray(data.group)
    for part in (fold.train, fold.validation):
        rows = data.rows(part)
        known = rows[has_target(data.target[rows])]
        labels = np.unique(groups[known.numpy()])
        order = np.random.default_rng(LABEL_SEED).permutation(len(labels))
        unused = labels[order[max(1, round(fraction * len(labels))) :]]
        target[known[torch.from_numpy(np.isin(groups[known.numpy()], unused))]] = torch.nan
    return replace(data, target=target)


def visible_part(data: CellData, fold: Fold) -> tuple[CellData, Tensor, Tensor]:
    """The table of training and validation cells with a target, and the rows of each of both.

    Test cells are not in the table, and targets of days outside both periods are removed. Raises
    `InputError` where no training or no validation cell has a target.
    """
    kept = []
    for name, part in zip(("train", "validation"), training_part(data, fold), strict=True):
        assert part.target is not None
        known = has_target(part.target)
        if not bool(known.any()) and (name == "train" or len(part)):
            raise bad_input(f"fold {fold.name}: {name}", "no cell with a target", "at least one")
        kept.append(part.cell[known])
    used = data.subset(torch.cat(kept).unique())
    assert used.target is not None
    target = torch.full_like(used.target, torch.nan)
    for period in (fold.train_period, fold.validation_period or fold.train_period):
        when = used.steps(period)
        target[:, when] = used.target[:, when]
    return replace(used, target=target), used.rows(kept[0]), used.rows(kept[1])


def held_out_part(data: CellData, fold: Fold, warmup: int) -> tuple[CellData, int]:
    """The test cells from `warmup` steps before the test period to its end, and the number of
    leading steps before the period.

    A prediction of the test may read nothing else: no window of it can hold a training day.
    """
    when = data.steps(fold.test_period)
    start = max(0, when.start - warmup)
    return data.subset(fold.test).during(slice(start, when.stop)), when.start - start


def input_ranges(data: CellData, period: tuple[str, str] | None) -> dict[str, tuple[float, float]]:
    """Smallest and largest physical value of each input over these cells and the period."""
    when = data.steps(period)
    ranges = {}
    for names, values in (
        (data.forcing_names, data.forcings[:, when]),
        (data.static_names, data.statics),
    ):
        for i, name in enumerate(names):
            valid = values[..., i][~values[..., i].isnan()]
            if len(valid):
                ranges[name] = (float(valid.min()), float(valid.max()))
    return ranges
