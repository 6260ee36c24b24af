"""Pretraining of the masked autoencoder on a fold of a cell table, saved as a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.core.errors import bad_input
from stefaland.config import ModelConfig, PretrainConfig
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.normalise import Normaliser
from stefaland.data.sharded import ShardedCells
from stefaland.distributed import is_main, process_group
from stefaland.folds.leakage import check_statistics, check_table
from stefaland.folds.split import Fold
from stefaland.model.mae import StefaLand
from stefaland.training.log import RunLog
from stefaland.training.pretext import require_values
from stefaland.training.pretraining_skill import FITTED_WINDOWS, pretraining_skills
from stefaland.training.recipe import (
    Trained,
    TrainingSet,
    mixed_set,
    new_network,
    save_trained,
    train_on_fold,
    training_set,
)
from stefaland.training.reconstruction import MaskedReconstruction
from stefaland.training.references import verdict

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FurtherCells:
    """Cells of another table that pretrain as well, with the fold over them.

    A variable that the table lacks is missing (NaN) in it.
    """

    data: CellData | ShardedCells
    fold: Fold
    weight: float = 1.0
    """Number of batches in proportion to that of the first table, which has the weight 1."""
    window: int | None = None
    """Number of time steps of a sample; by default that of the settings."""
    cyclic: bool | None = None
    """Whether its time axis is periodic; by default as in the settings."""


def pretrain(
    data: CellData | ShardedCells,
    fold: Fold,
    model_config: ModelConfig,
    config: PretrainConfig,
    normaliser: Normaliser,
    folder: str | Path,
    *,
    also: Sequence[FurtherCells] = (),
    device: torch.device | str = "cpu",
    log: RunLog | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Pretrain on the fold's training cells, resident or in shards; returns the checkpoint folder.

    The fold's validation cells decide the best epoch; its test cells are not read. Cells of other
    tables (`also`) train and validate too, normalised by the same statistics. An interrupted
    training in `folder` is resumed. `metadata` (grid, units, catalog entries) is added to the
    checkpoint's `data.json`. Raises `InputError` before training for missing variables or
    statistics, an empty fold and a window longer than the data; for resident cells also for a fold
    with a leak and for statistics of other cells. Shards must be checked by the caller: to read all
    of them would cost as much as an epoch.

    >>> from tempfile import mkdtemp
    >>> from stefaland.config import FinetuneConfig, PretrainConfig, model_preset
    >>> from stefaland.data.cell_data import fit_normaliser
    >>> from stefaland.data.example import example_cells
    >>> from stefaland.folds.split import make_folds
    >>> cells = example_cells()
    >>> fold = make_folds("groups", cells, k=3)[0]
    >>> normaliser = fit_normaliser(cells, cells.rows(fold.train))
    >>> network = model_preset("stefaland-tiny", forcings=cells.forcing_names,
    ...                        statics=cells.static_names)
    >>> config = PretrainConfig(window=20, epochs=1, mask={"window_min": 2, "window_max": 6})
    >>> folder = pretrain(cells, fold, network, config, normaliser, mkdtemp())
    >>> (folder / "model.safetensors").exists()
    True
    """
    used, inputs, normaliser = scaled(data, fold, model_config, normaliser, also)
    with process_group(device) as rank_device:
        model = new_network(lambda: StefaLand(model_config), config.seed)
        objective = MaskedReconstruction(model_config, config)
        drawn = pretraining_set(
            used, fold, model_config, config, objective, normaliser, also, rank_device
        )
        trained = train_on_fold(
            model, drawn, fold, config, objective,
            folder=Path(folder), identity=model_config.model_dump(mode="json"), log=log,
        )  # fmt: skip
        stored = {
            **(metadata or {}),
            "forcings": list(used.forcing_names),
            "statics": [*used.static_names, *used.categorical_names],
            "normaliser": inputs.to_dict(),
            "training": {**trained.record, **_judged(model, objective, trained, log)},
        }
        return save_trained(Path(folder), model, stored)


def scaled(
    data: CellData | ShardedCells, fold: Fold, model_config: ModelConfig, normaliser: Normaliser,
    also: Sequence[FurtherCells] = (),
) -> tuple[CellData | ShardedCells, Normaliser, Normaliser]:  # fmt: skip
    """The cells that pretrain, the normaliser of their inputs, and that of pretext targets too.

    Raises `InputError` for missing variables or statistics, a leak, and statistics of other cells.
    """
    if isinstance(data, CellData):
        check_table(fold, data)
    used = _visible(data, fold, model_config)
    scaling = _pretext_scaling(used, fold, model_config)
    names = (*used.forcing_names, *used.static_names)
    normaliser.require(names, "pretraining")
    inputs = normaliser.selected(names)
    if isinstance(used, CellData) and len(fold.train):
        # Statistics of what this table lacks are those of the others.
        check_statistics(used, fold, inputs, _known(used, fold) if also else names)
    return used, inputs, scaling.merged(inputs)


def pretraining_set(
    used: CellData | ShardedCells, fold: Fold, model_config: ModelConfig, config: PretrainConfig,
    objective: MaskedReconstruction, normaliser: Normaliser, also: Sequence[FurtherCells],
    device: torch.device,
) -> TrainingSet:  # fmt: skip
    """The windows of the cells that pretrain, with those of further tables."""
    sets = [
        _drawn(one, config, objective, normaliser, device)
        for one in (
            FurtherCells(data=used, fold=fold),
            *(replace(one, data=_visible(one.data, one.fold, model_config)) for one in also),
        )
    ]
    return mixed_set(sets, [1.0, *(one.weight for one in also)], config, device)


def _pretext_scaling(
    data: CellData | ShardedCells, fold: Fold, model_config: ModelConfig
) -> Normaliser:
    """Scalings of the pretext targets, of the training cells; empty without such targets.

    Raises `InputError` for cells in shards, which have no targets, and for targets without values.
    """
    names = model_config.pretext
    if not names:
        return Normaliser({})
    if not isinstance(data, CellData) or data.target_names != names:
        raise bad_input(
            "pretrain.also_predict", "cells that are read shard by shard", "cells in memory",
            "Set pretrain.resident: true.",
        )  # fmt: skip
    require_values(data, data.rows(fold.train))
    return fit_normaliser(data, data.rows(fold.train), fold.train_period, names=names)


def _visible(
    data: CellData | ShardedCells, fold: Fold, model_config: ModelConfig
) -> CellData | ShardedCells:
    """The cells that train and validate, with the network's variables in its order."""
    return data.subset(np.union1d(fold.train, fold.validation)).selected(
        model_config.forcings, model_config.statics, tuple(model_config.categorical)
    )


def _known(data: CellData, fold: Fold) -> list[str]:
    """Names of the inputs with a value in the training cells and period."""
    rows, when = data.rows(fold.train), data.steps(fold.train_period)
    columns = {
        **dict(zip(data.forcing_names, data.forcings[:, when].unbind(-1), strict=True)),
        **dict(zip(data.static_names, data.statics.unbind(-1), strict=True)),
    }
    return [name for name, values in columns.items() if not bool(values[rows].isnan().all())]


def _drawn(
    cells: FurtherCells, config: PretrainConfig, objective: MaskedReconstruction,
    normaliser: Normaliser, device: torch.device,
) -> TrainingSet:  # fmt: skip
    data, fold, own = cells.data, cells.fold, {"window": cells.window, "cyclic": cells.cyclic}
    changed = config.model_copy(update={k: v for k, v in own.items() if v is not None})
    return training_set(
        data, fold, changed, objective, rows=(data.rows(fold.train), data.rows(fold.validation)),
        normaliser=normaliser, device=device,
    )  # fmt: skip


def _judged(
    model: nn.Module, objective: MaskedReconstruction, trained: Trained, log: RunLog | None
) -> dict[str, Any]:
    """The skills of the network and of references, and what they say of the training."""
    if not trained.validation or not is_main():
        return {}
    skills = pretraining_skills(
        model, objective, trained.windows, train=trained.training_windows(FITTED_WINDOWS),
        validation=trained.validation,
    )  # fmt: skip
    words = verdict(skills)
    title = log.title if log else "pretraining"
    for variable, of_variable in skills.items():
        shown = ", ".join(f"{who} {skill:.2f}" for who, skill in of_variable.items())
        logger.info("%s: skill of %s: %s", title, variable, shown)
    if words:
        logger.warning("%s: %s", title, words)
    return {"skills": skills, "verdict": words}
