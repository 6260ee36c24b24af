"""Network baselines, trained by the same recipe as StefaLand."""

from __future__ import annotations

from pathlib import Path

import torch

from stefaland.config import FinetuneConfig
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.distributed import process_group
from stefaland.folds.split import Fold
from stefaland.model.networks.dlinear import DLinear, DLinearConfig
from stefaland.model.networks.hbv import HBVConfig, HBVNetwork
from stefaland.model.networks.lstm import LSTMConfig, LSTMNetwork
from stefaland.model.networks.patchtst import PatchTST, PatchTSTConfig
from stefaland.training.finetune import train_network
from stefaland.training.log import RunLog
from stefaland.training.recipe import new_network
from stefaland.training.state import training_identity

Settings = LSTMConfig | PatchTSTConfig | HBVConfig | DLinearConfig


def make_network(settings: Settings) -> LSTMNetwork | PatchTST | HBVNetwork | DLinear:
    """The network with these settings, with new random weights."""
    match settings:
        case HBVConfig():
            return HBVNetwork(settings)
        case LSTMConfig():
            return LSTMNetwork(settings)
        case DLinearConfig():
            return DLinear(settings)
    return PatchTST(settings)


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
    """Train a baseline network on the fold as `finetune` does; returns the checkpoint folder.

    Raises `InputError` where `normaliser` lacks statistics of an input or target.
    """
    normaliser.require((*data.forcing_names, *data.static_names, *data.target_names), "baseline")
    with process_group(device) as rank_device:
        model = new_network(lambda: make_network(settings), config.seed)
        identity = training_identity(settings.model_dump(mode="json"))
        return train_network(
            model, data, fold, config, normaliser,
            folder=Path(folder), identity=identity, device=rank_device, log=log,
        )  # fmt: skip
