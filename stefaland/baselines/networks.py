"""Network baselines, trained as ours are."""

from __future__ import annotations

from pathlib import Path

import torch

from stefaland.checkpoints.networks import (
    Settings,
    make_network,
    save_network,
)
from stefaland.config import FinetuneConfig
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.distributed import barrier, is_main, process_group
from stefaland.folds.split import Fold
from stefaland.training.finetune import train_network
from stefaland.training.log import RunLog
from stefaland.training.state import training_identity


def train_baseline(
    settings: Settings,
    data: CellData,
    fold: Fold,
    config: FinetuneConfig,
    folder: str | Path,
    *,
    normaliser: Normaliser,
    device: torch.device | str = "cpu",
    log: RunLog | None = None,
) -> Path:
    """Train a baseline network on the fold as `finetune` does; gives its folder.

    `normaliser` must know inputs and target, `InputError` otherwise.
    """
    folder = Path(folder)
    normaliser.require((*data.forcing_names, *data.static_names, *data.target_names), "baseline")
    with process_group(device) as place:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            model = make_network(settings)
        identity = training_identity(settings.model_dump(mode="json"))
        stored = train_network(
            model, data, fold, config, normaliser, folder, device=place, log=log, identity=identity
        )
        if is_main():
            save_network(folder, model, stored)
        barrier()
    return folder
