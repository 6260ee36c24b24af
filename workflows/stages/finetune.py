"""stefaland finetune workflows/configs/quickstart.yml

Adapter and head on the pretrained encoder, and every baseline, on each fold; then each model's
predictions of the fold's held-out cells, which the score stage judges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stefaland.baselines.climatology import Predictor
from stefaland.baselines.registry import BaselineInputs, fit_baseline
from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.data.cell_data import CellData
from stefaland.distributed import agreed, best_device, is_main
from stefaland.prediction.ensemble import Ensemble, calibrated, load, member_folders
from stefaland.prediction.member import Member
from stefaland.training.finetune import finetune
from stefaland.training.log import RunLog
from workflows.config.schema import FinetuneSettings
from workflows.inputs.cells import cell_data
from workflows.inputs.checked_folds import check_encoders
from workflows.inputs.folds import FoldFiles
from workflows.inputs.given_encoder import encoder_settings
from workflows.products.heldout import write_predictions
from workflows.run import Run
from workflows.stages.unpack import about, check_run_folds, labelled_cells, network_settings


@dataclass(frozen=True)
class TrainingInputs:
    """What every model of a run is trained on."""

    data: CellData
    """The labelled cells with a target."""
    files: FoldFiles
    encoders: Path
    """Folder of the pretrained encoders, one a fold."""
    network: ModelConfig | None
    """The network that the run pretrained; None where its encoders were taken over as they are."""
    about: dict[str, Any]
    """What a checkpoint says of the run."""


def train(name: str, inputs: TrainingInputs, given: BaselineInputs) -> Predictor:
    """The named model, trained on the fold; networks as often as the ensemble has members."""
    count = given.config.ensemble
    if count == 1 or name not in NETWORKS:
        return train_one(name, inputs, given)
    trained: list[Member] = []
    for i, folder in enumerate(member_folders(given.folder, count)):
        config = given.config.model_copy(update={"seed": given.config.seed + i})
        one = train_one(name, inputs, replace(given, config=config, folder=folder))
        assert isinstance(one, Ensemble)
        trained.extend(one.members)
    return calibrated(trained, given.data, given.fold)


def train_one(name: str, inputs: TrainingInputs, given: BaselineInputs) -> Predictor:
    """One model of a name: StefaLand on its pretrained encoder, or a baseline."""
    if name != "stefaland":
        return fit_baseline(name, given)
    normaliser = given.normaliser
    if inputs.network is None:
        # The inputs' scaler comes with the encoder, and is not this run's own.
        targets = set(given.data.target_names) & set(normaliser.scalings)
        normaliser = normaliser.selected(sorted(targets))
    folder = finetune(
        inputs.encoders / given.fold.name,
        given.data,
        given.fold,
        given.config,
        given.folder,
        normaliser=normaliser,
        device=given.device,
        log=given.log,
        about=inputs.about,
    )
    return load(folder, given.device)


NETWORKS = ("stefaland", "scratch", "lstm", "patchtst")
"""Models that a seed changes enough to be asked several times."""


def outputs(run: Run) -> list[Path]:
    """Checkpoints and held-out predictions of every model."""
    return [run.folder / "finetuned"]


def training_settings(settings: FinetuneSettings, seed: int) -> FinetuneConfig:
    """What the recipe needs of the config's finetuning section, with the run's seed."""
    return FinetuneConfig(**{**settings.model_dump(exclude={"cube", "baselines"}), "seed": seed})


def training_inputs(run: Run) -> TrainingInputs:
    """What every model of the run is trained on, once its folds and encoders are sound."""
    files = FoldFiles(run.folder)
    check_run_folds(run)
    check_encoders(files, run.encoders)
    data = cell_data(labelled_cells(run), run.config.inputs)
    network = None
    if run.config.pretrain.from_checkpoint is None:
        network = network_settings(run, data.static_names)
    return TrainingInputs(data, files, run.encoders, network, about(run, data.static_names))


def train_and_predict(
    inputs: TrainingInputs, name: str, fold_name: str, *, config: FinetuneConfig, folder: Path,
    title: str,
) -> None:  # fmt: skip
    """Train the named model on a fold, in `folder`, and write what it predicts of the test."""
    data, fold = inputs.data, inputs.files.fold(fold_name)
    normaliser = inputs.files.normaliser(fold_name)
    network = inputs.network or encoder_settings(inputs.encoders / fold_name)
    with RunLog(folder, title=title) as log:
        given = BaselineInputs(data, fold, config, network, normaliser, folder, best_device(), log)
        predictor = train(name, inputs, given)
    if is_main():
        write_predictions(folder / "heldout.zarr", data, fold, predictor, config)


def main(run: Run) -> dict[str, Any]:
    """Train every model on every fold and predict what it did not see."""
    names = run.config.finetune.models
    inputs = training_inputs(run)
    config = training_settings(run.config.finetune, run.config.seed)
    for fold_name in inputs.files.names():
        for name in names:
            folder = run.finetuned(name, fold_name)
            if agreed((folder / "heldout.zarr").exists()):
                continue
            train_and_predict(
                inputs, name, fold_name, config=config, folder=folder, title=f"{name} {fold_name}"
            )
    return {"models": names, "folds": inputs.files.names()}
