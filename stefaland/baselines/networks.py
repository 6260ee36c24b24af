"""Network baselines, trained as ours are."""

from __future__ import annotations

from pathlib import Path

import torch

from stefaland.config import FinetuneConfig
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.distributed import process_group
from stefaland.folds.split import Fold
from stefaland.model.lstm import LSTMConfig, LSTMNetwork
from stefaland.model.patchtst import PatchTST, PatchTSTConfig
from stefaland.training.finetune import train_network
from stefaland.training.log import RunLog
from stefaland.training.recipe import new_network
from stefaland.training.state import training_identity

Settings = LSTMConfig | PatchTSTConfig


def make_network(settings: Settings) -> LSTMNetwork | PatchTST:
    """The network of these settings, with new weights."""
    return LSTMNetwork(settings) if isinstance(settings, LSTMConfig) else PatchTST(settings)


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
    normaliser.require((*data.forcing_names, *data.static_names, *data.target_names), "baseline")
    with process_group(device) as place:
        model = new_network(lambda: make_network(settings), config.seed)
        identity = training_identity(settings.model_dump(mode="json"))
        return train_network(
            model, data, fold, config, normaliser,
            folder=Path(folder), identity=identity, device=place, log=log,
        )  # fmt: skip
