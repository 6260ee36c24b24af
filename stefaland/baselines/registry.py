"""Registry of the baselines, all fitted on the same fold with the same training budget.

A baseline is a function from `BaselineInputs` to a `Predictor`; packages add theirs by the entry
point `stefaland.baselines`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pipeline.core.errors import bad_input
from pipeline.core.plugins import Registry
from stefaland.baselines.climatology import Climatology, Predictor
from stefaland.baselines.embedding import Embedding
from stefaland.baselines.networks import Settings, train_baseline
from stefaland.baselines.persistence import Persistence
from stefaland.baselines.regression import GradientBoosting, Ridge
from stefaland.checkpoints.checkpoint import load_encoder, stored_normaliser
from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.data.cell_data import CellData
from stefaland.data.missing import partly_without
from stefaland.data.normalise import Normaliser
from stefaland.folds.leakage import check_table
from stefaland.folds.split import Fold
from stefaland.folds.visible import training_days
from stefaland.model.mae import StefaLand
from stefaland.model.networks.dlinear import DLinearConfig
from stefaland.model.networks.hbv import HBVConfig
from stefaland.model.networks.lstm import LSTMConfig
from stefaland.model.networks.patchtst import PatchTSTConfig
from stefaland.prediction.ensemble import load
from stefaland.training.finetune import finetune, target_scaling
from stefaland.training.log import RunLog
from stefaland.training.recipe import new_network


@dataclass(frozen=True, kw_only=True)
class BaselineInputs:
    """Inputs of every baseline of a fold: the same cells, normaliser and training settings.

    >>> from tempfile import mkdtemp
    >>> from stefaland.config import FinetuneConfig, model_preset
    >>> from stefaland.data.cell_data import fit_normaliser
    >>> from stefaland.data.example import example_cells
    >>> from stefaland.folds.split import make_folds
    >>> cells = example_cells()
    >>> fold = make_folds("groups", cells, k=3)[0]
    >>> normaliser = fit_normaliser(cells, cells.rows(fold.train))
    >>> network = model_preset("stefaland-tiny", forcings=cells.forcing_names,
    ...                        statics=cells.static_names)
    >>> inputs = BaselineInputs(data=cells, fold=fold, config=FinetuneConfig(window=20),
    ...                         model_config=network, normaliser=normaliser,
    ...                         folder=Path(mkdtemp()))
    >>> inputs.network_data().forcing_names
    ('precipitation', 'air_temperature')
    """

    data: CellData
    fold: Fold
    config: FinetuneConfig
    model_config: ModelConfig
    normaliser: Normaliser
    """Statistics of the inputs, and of the target where they are known."""
    folder: Path
    """Folder in which networks keep their training state and checkpoint."""
    device: torch.device | str = "cpu"
    log: RunLog | None = None
    transforms: Mapping[str, str] | None = None
    encoder: Path | None = None
    """Folder of the fold's pretrained encoder, for baselines that read its embedding."""
    hidden: tuple[str, ...] = ()
    """Inputs of that encoder that the data lack and that are hidden from it."""

    def full_normaliser(self) -> Normaliser:
        """Normaliser of the inputs and the target."""
        target = target_scaling(
            self.data, self.fold, self.normaliser, self.transforms, self.config.task
        )
        return target.merged(self.normaliser)

    def network_data(self) -> CellData:
        """The data with the network's variables, in the network's order."""
        return self.data.selected(self.model_config.forcings, self.model_config.statics)


def _climatology(inputs: BaselineInputs) -> Predictor:
    return Climatology.fit(inputs.data, inputs.fold)


def _persistence(inputs: BaselineInputs) -> Predictor:
    return Persistence.fit(inputs.data, inputs.fold)


def _ridge(inputs: BaselineInputs) -> Predictor:
    return Ridge.fit(
        inputs.network_data(), inputs.fold, inputs.full_normaliser(), cyclic=inputs.config.cyclic
    )


def _partly_without(data: CellData, config: FinetuneConfig) -> CellData:
    return partly_without(data, config.missing_groups, config.missing_share, config.seed)


def _gradient_boosting(inputs: BaselineInputs) -> Predictor:
    data = _partly_without(inputs.network_data(), inputs.config)
    return GradientBoosting.fit(
        data, inputs.fold, inputs.full_normaliser(), cyclic=inputs.config.cyclic,
        seed=inputs.config.seed, settings=inputs.config.trees,
    )  # fmt: skip


def _gradient_boosting_embedding(inputs: BaselineInputs, random_encoder: bool = False) -> Predictor:
    if random_encoder:
        settings, normaliser = inputs.model_config, inputs.normaliser
        encoder = new_network(lambda: StefaLand(settings), inputs.config.seed)
    elif inputs.encoder is None:
        raise bad_input(
            "baseline gradient_boosting_embedding", "no pretrained encoder",
            "the folder of the fold's pretrained encoder",
            "Pass BaselineInputs.encoder, or use gradient_boosting_random_embedding.",
        )  # fmt: skip
    else:
        encoder, stored = load_encoder(inputs.encoder)
        normaliser = stored_normaliser(inputs.encoder, stored)
    known = inputs.model_config
    data = inputs.data.selected(known.forcings, known.statics, tuple(known.categorical))
    data = _partly_without(data, inputs.config)
    train, _ = training_days(data, inputs.fold)
    embedding = Embedding.fit(
        encoder, normaliser, inputs.config, train, inputs.device,
        () if random_encoder else inputs.hidden,
    )  # fmt: skip
    return GradientBoosting.fit(
        data, inputs.fold, inputs.full_normaliser(), cyclic=inputs.config.cyclic,
        seed=inputs.config.seed, embedding=embedding, settings=inputs.config.trees,
    )  # fmt: skip


def _lstm(inputs: BaselineInputs) -> Predictor:
    data, own = inputs.network_data(), inputs.config.lstm
    settings = LSTMConfig(
        forcings=data.forcing_names, statics=data.static_names, n_targets=len(data.target_names),
        hidden=own.hidden or inputs.model_config.d_model,
        forget_bias=own.forget_bias, head=inputs.config.head, cyclic=inputs.config.cyclic,
    )  # fmt: skip
    return _trained(settings, data, inputs)


def _patchtst(inputs: BaselineInputs) -> Predictor:
    data = inputs.network_data()
    settings = PatchTSTConfig.matching_lstm(
        inputs.model_config.d_model, inputs.config.window, data.forcing_names, data.static_names,
        len(data.target_names), inputs.config.head,
    )  # fmt: skip
    return _trained(settings, data, inputs)


def _dlinear(inputs: BaselineInputs) -> Predictor:
    data = inputs.network_data()
    settings = DLinearConfig(
        forcings=data.forcing_names, statics=data.static_names, n_targets=len(data.target_names),
        window=inputs.config.window, head=inputs.config.head, cyclic=inputs.config.cyclic,
    )  # fmt: skip
    return _trained(settings, data, inputs)


def _hbv(inputs: BaselineInputs) -> Predictor:
    data, head = inputs.network_data(), inputs.config.head
    settings = HBVConfig(
        forcings=data.forcing_names, statics=data.static_names, hidden=inputs.model_config.d_model,
        around="gaussian" if head == "hbv" else head,
    )  # fmt: skip
    return _trained(settings, data, inputs)


def _trained(settings: Settings, data: CellData, inputs: BaselineInputs) -> Predictor:
    dropout = inputs.config.baseline_dropout
    if dropout is not None:
        settings = settings.model_copy(update={"dropout": dropout})
    folder = train_baseline(
        settings, data, inputs.fold, inputs.config, inputs.folder,
        normaliser=inputs.full_normaliser(), device=inputs.device, log=inputs.log,
    )  # fmt: skip
    return load(folder, inputs.device)


def _scratch(inputs: BaselineInputs, random_encoder: bool = False) -> Predictor:
    folder = finetune(
        None, inputs.data, inputs.fold, inputs.config, inputs.folder,
        model_config=inputs.model_config, random_encoder=random_encoder,
        normaliser=inputs.full_normaliser(), device=inputs.device, log=inputs.log,
    )  # fmt: skip
    return load(folder, inputs.device)


Baseline = Callable[[BaselineInputs], Predictor]
"""Function that fits a model on the training cells of a fold."""
BASELINES: Registry[Baseline] = Registry("baseline", "stefaland.baselines")
_BUILT_IN: dict[str, Baseline] = {
    "climatology": _climatology,
    "persistence": _persistence,
    "ridge": _ridge,
    "gradient_boosting": _gradient_boosting,
    "gradient_boosting_embedding": _gradient_boosting_embedding,
    "gradient_boosting_random_embedding": partial(
        _gradient_boosting_embedding, random_encoder=True
    ),
    "lstm": _lstm,
    "patchtst": _patchtst,
    "dlinear": _dlinear,
    "hbv": _hbv,
    "scratch": _scratch,
    "random_encoder": partial(_scratch, random_encoder=True),
}
for _name, _baseline in _BUILT_IN.items():
    BASELINES.register(_name, _baseline)


def fit_baseline(name: str, inputs: BaselineInputs) -> Predictor:
    """The named baseline, fitted on the fold's training cells.

    Raises `InputError` for an unknown name, and for a fold with a leak from test to training.

    >>> from tempfile import mkdtemp
    >>> from stefaland.config import FinetuneConfig, model_preset
    >>> from stefaland.data.cell_data import fit_normaliser
    >>> from stefaland.data.example import example_cells
    >>> from stefaland.folds.split import make_folds
    >>> cells = example_cells()
    >>> fold = make_folds("groups", cells, k=3)[0]
    >>> normaliser = fit_normaliser(cells, cells.rows(fold.train))
    >>> network = model_preset("stefaland-tiny", forcings=cells.forcing_names,
    ...                        statics=cells.static_names)
    >>> inputs = BaselineInputs(data=cells, fold=fold, config=FinetuneConfig(window=20),
    ...                         model_config=network, normaliser=normaliser,
    ...                         folder=Path(mkdtemp()))
    >>> fit_baseline("ridge", inputs).predict(cells.subset(fold.test))["mean"].shape
    (4, 60, 1)
    """
    baseline = BASELINES.get(name, "baselines")
    check_table(inputs.fold, inputs.data)
    return baseline(inputs)
