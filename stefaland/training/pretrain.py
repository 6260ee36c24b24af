"""Masked-autoencoder pretraining: cell table and fold in, checkpoint folder out (spec §5 to §7).

Upstream: reconstruction.py, mae.py. Downstream: finetune.py and `stefaland embed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stefaland.config import ModelConfig, PretrainConfig
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.data.sharded import ShardedCells
from stefaland.distributed import process_group
from stefaland.folds.leakage import check_statistics, check_table
from stefaland.folds.split import Fold
from stefaland.model.mae import StefaLand
from stefaland.training.log import RunLog
from stefaland.training.recipe import new_network, save_trained, train_on_fold
from stefaland.training.reconstruction import MaskedReconstruction


def pretrain(
    data: CellData | ShardedCells,
    fold: Fold,
    model_config: ModelConfig,
    config: PretrainConfig,
    normaliser: Normaliser,
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    log: RunLog | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Pretrain on the fold's training cells, resident or in shards; gives the checkpoint folder.

    The fold's validation cells decide the best epoch; its test cells are not read. Resumes by
    itself from what an earlier call left in `folder`. `about` (grid, units, catalog entries) goes
    into the checkpoint's `data.json`. Raises `InputError` before training for variables or
    statistics that are missing, an empty fold, a window longer than the data; and of resident cells
    for a fold that leaks and for statistics that are not those of its training part. Whoever hands
    in shards has checked both: to read them for it would cost as much as an epoch.
    """
    if isinstance(data, CellData):
        check_table(fold, data)
    used = data.subset(np.union1d(fold.train, fold.validation))
    used = used.selected(
        model_config.forcings, model_config.statics, tuple(model_config.categorical)
    )
    names = (*used.forcing_names, *used.static_names)
    normaliser.require(names, "pretraining")
    normaliser = normaliser.selected(names)
    if isinstance(used, CellData) and len(fold.train):
        check_statistics(used, fold, normaliser, names)
    with process_group(device) as place:
        model = new_network(lambda: StefaLand(model_config), config.seed)
        trained = train_on_fold(
            model,
            used,
            fold,
            config,
            MaskedReconstruction(model_config, config),
            rows=(used.rows(fold.train), used.rows(fold.validation)),
            normaliser=normaliser,
            folder=Path(folder),
            identity=model_config.model_dump(mode="json"),
            device=place,
            log=log,
        )
        stored = {
            **(about or {}),
            "forcings": list(used.forcing_names),
            "statics": [*used.static_names, *used.categorical_names],
            "normaliser": normaliser.to_dict(),
            "training": trained.record,
        }
        return save_trained(Path(folder), model, stored)
