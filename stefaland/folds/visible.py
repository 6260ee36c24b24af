"""What a fit may see of a cell table under a fold, and what a prediction of its test may read.

Upstream: dataset.py, fold.py. Downstream: finetune.py, the baselines and the finetune stage, whose
leak tests rest on this file.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.core.errors import bad_input
from stefaland.data.cell_data import CellData
from stefaland.folds.split import Fold


def training_part(data: CellData, fold: Fold) -> tuple[CellData, CellData]:
    """Training and validation cells with targets outside their periods removed.

    All that a fit may see; test cells are not in it, nor the target of test days.
    """
    if data.target is None:
        raise bad_input("cell table", "no target", "a target to train on")
    train, validation = data.subset(fold.train), data.subset(fold.validation)
    return (
        _hide_outside(train, fold.train_period),
        _hide_outside(validation, fold.validation_period or fold.train_period),
    )


def _hide_outside(data: CellData, period: tuple[str, str] | None) -> CellData:
    if period is None or data.target is None:
        return data
    when = data.steps(period)
    target = torch.full_like(data.target, torch.nan)
    target[:, when] = data.target[:, when]
    return replace(data, target=target)


def visible_part(data: CellData, fold: Fold) -> tuple[CellData, Tensor, Tensor]:
    """The cells that train or validate and have a target, and the rows of each kind.

    Test cells are not in the table; the target of days outside both periods is hidden.
    """
    kept = []
    for name, part in zip(("train", "validation"), training_part(data, fold), strict=True):
        assert part.target is not None
        known = (~part.target.isnan()).any(-1).any(-1)
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
    """The test cells from `warmup` steps before the test period to its end, and how many of the
    leading steps are not the period's.

    All that a prediction of the test may read: no window of it can hold a training day.
    """
    when = data.steps(fold.test_period)
    start = max(0, when.start - warmup)
    return data.subset(fold.test).during(slice(start, when.stop)), when.start - start


def input_ranges(data: CellData, period: tuple[str, str] | None) -> dict[str, tuple[float, float]]:
    """Smallest and largest physical value of each input over the training cells and period."""
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
