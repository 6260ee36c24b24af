"""stefaland finetune workflows/configs/quickstart.yml

Adapter and head on the pretrained encoder, and all baselines, on each fold.

Each model also predicts the fold's held-out cells, for the score stage. Stacks come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import Faults, nearest_name
from stefaland.baselines.climatology import Predictor
from stefaland.baselines.fitted import FittedBaseline
from stefaland.baselines.registry import BASELINES, BaselineInputs, fit_baseline
from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.missing import without
from stefaland.data.normalise import Normaliser
from stefaland.distributed import agreed, best_device, is_main
from stefaland.folds.split import Fold
from stefaland.folds.visible import with_fewer_labels
from stefaland.prediction.ensemble import Ensemble, calibrated, load, member_folders
from stefaland.prediction.member import Member
from stefaland.training.finetune import finetune
from stefaland.training.log import RunLog
from workflows.config.finetuning import FinetuneSettings
from workflows.inputs.cells import cell_data
from workflows.inputs.checked_folds import check_encoders
from workflows.inputs.encoder_inputs import hidden_inputs, visible_settings
from workflows.inputs.folds import FoldFiles
from workflows.inputs.given_encoder import encoder_settings
from workflows.products.heldout import (
    HELDOUT,
    VALIDATION,
    heldout_without,
    write_predictions,
    write_stack,
    write_validation,
)
from workflows.run import Run
from workflows.stages.unpack import (
    check_run_folds,
    checkpoint_metadata,
    labelled_cells,
    network_settings,
)


@dataclass(frozen=True)
class TrainingInputs:
    """Data, folds and encoders that every model of a run is trained with."""

    data: CellData
    """The labelled cells with a target."""
    files: FoldFiles
    encoders: Path
    """Folder of the pretrained encoders, one for each fold."""
    network: ModelConfig | None
    """Settings of the network that the run pretrained on its own inputs alone; None where its
    encoders were given, and may have others."""
    metadata: dict[str, Any]
    """Metadata of the run for its checkpoints."""

    def labelled(self, fold: Fold, fraction: float) -> tuple[CellData, Normaliser]:
        """Data and normaliser of a fold in which a fraction of the sites has targets."""
        normaliser = self.files.normaliser(fold.name)
        if fraction >= 1:
            return self.data, normaliser
        data = with_fewer_labels(self.data, fold, fraction)
        scaled = normaliser.scalings
        names = tuple(name for name in data.target_names if name in scaled)
        transforms = {name: scaled[name].transform for name in names}
        rows = data.rows(fold.train)
        own = fit_normaliser(data, rows, fold.train_period, transforms, names)
        return data, own.merged(normaliser)


def train(name: str, inputs: TrainingInputs, fit_inputs: BaselineInputs) -> Predictor:
    """Train the named model on a fold; networks once for each member of the ensemble."""
    count = fit_inputs.config.ensemble
    if count == 1 or name not in NETWORKS:
        return train_one(name, inputs, fit_inputs)
    trained: list[Member] = []
    for i, folder in enumerate(member_folders(fit_inputs.folder, count)):
        config = fit_inputs.config.model_copy(update={"seed": fit_inputs.config.seed + i})
        one = train_one(name, inputs, replace(fit_inputs, config=config, folder=folder))
        assert isinstance(one, Ensemble)
        trained.extend(one.members)
    return calibrated(trained, fit_inputs.data, fit_inputs.fold)


def train_one(name: str, inputs: TrainingInputs, fit_inputs: BaselineInputs) -> Predictor:
    """Train one network or baseline: StefaLand on its pretrained encoder, or a baseline.

    Baselines without a network are calibrated here; networks are when they are trained.
    """
    if name != "stefaland":
        predictor = fit_baseline(name, fit_inputs)
        is_network = isinstance(predictor, Ensemble)
        return predictor if is_network else FittedBaseline.of(predictor, fit_inputs)
    normaliser = fit_inputs.normaliser
    if inputs.network is None:
        # The scaler of the inputs comes with the encoder; only the target's is of this run.
        targets = set(fit_inputs.data.target_names) & set(normaliser.scalings)
        normaliser = normaliser.selected(sorted(targets))
    folder = finetune(
        inputs.encoders / fit_inputs.fold.name,
        fit_inputs.data,
        fit_inputs.fold,
        fit_inputs.config,
        fit_inputs.folder,
        normaliser=normaliser,
        device=fit_inputs.device,
        log=fit_inputs.log,
        metadata=inputs.metadata,
        hidden=fit_inputs.hidden,
    )
    return load(folder, fit_inputs.device)


NETWORKS = ("stefaland", "scratch", "random_encoder", "lstm", "patchtst", "dlinear", "hbv")
"""Models that depend on the seed enough for ensembles of several seeds."""


def outputs(run: Run) -> list[Path]:
    """The folders of all models' checkpoints and held-out predictions."""
    return [run.folder / "finetuned" / name for name in run.config.finetune.models]


def check_names(settings: FinetuneSettings, folds: Sequence[str] | None = None) -> None:
    """Raise `InputError` for settings of single models or folds that the run does not have."""
    models, faults = ["stefaland", *BASELINES.names()], Faults()
    for key in settings.unknown_names(models, folds):
        name, is_fold = key.rpartition(".")[2], key.count(".") == 1 and key.startswith("of_folds")
        known = (folds or ()) if is_fold else models
        hint = nearest_name(name, known)
        faults.add(f"finetune.{key}", f'"{name}"', f"one of {', '.join(known)}", hint)
    faults.raise_if_any()


def training_inputs(run: Run) -> TrainingInputs:
    """Data, folds and encoders of the run; `InputError` where folds or encoders are unsound."""
    files = FoldFiles(run.folder)
    check_names(run.config.finetune, files.names())
    check_run_folds(run)
    check_encoders(files, run.encoders)
    data = cell_data(labelled_cells(run), run.config.inputs)
    network = None
    if not run.config.pretrain.is_given:
        network = network_settings(run, data.forcing_names, data.static_names)
    return TrainingInputs(
        data, files, run.encoders, network, checkpoint_metadata(run, data.static_names)
    )


def train_and_predict(
    inputs: TrainingInputs, name: str, fold_name: str, *, config: FinetuneConfig, folder: Path,
    title: str,
) -> None:  # fmt: skip
    """Train the named model on a fold, in `folder`, and write its predictions.

    They are those of the validation cells and, last, of the test cells.
    """
    data, fold = inputs.data, inputs.files.fold(fold_name)
    predictor = train_in(inputs, name, fold_name, config=config, folder=folder, title=title)
    if is_main():
        if isinstance(predictor, FittedBaseline):
            predictor.save(folder)
        write_validation(folder / VALIDATION, data, fold, predictor, config)
        for group, names in config.missing_groups.items():
            path = heldout_without(folder, group)
            write_predictions(path, without(data, names), fold, predictor, config)
        write_predictions(folder / HELDOUT, data, fold, predictor, config)


def train_in(
    inputs: TrainingInputs, name: str, fold_name: str, *, config: FinetuneConfig, folder: Path,
    title: str,
) -> Predictor:  # fmt: skip
    """Train the named model on a fold, in `folder`, with its log there."""
    network = inputs.network or encoder_settings(inputs.encoders / fold_name)
    fold = inputs.files.fold(fold_name)
    data, normaliser = inputs.labelled(fold, config.label_fraction)
    hidden = hidden_inputs(network, inputs.data.forcing_names, inputs.data.static_names)
    with RunLog(folder, title=title) as log:
        fit_inputs = BaselineInputs(
            data=data,
            fold=fold,
            config=config,
            model_config=visible_settings(network, hidden),
            normaliser=normaliser,
            folder=folder,
            device=best_device(),
            log=log,
            encoder=inputs.encoders / fold_name,
            hidden=hidden,
        )
        return train(name, inputs, fit_inputs)


def _write_stack(
    run: Run, inputs: TrainingInputs, name: str, fold_name: str, config: FinetuneConfig
) -> None:
    """Write a stack of models that were trained on the fold."""
    models = {model: run.finetuned(model, fold_name) for model in run.config.finetune.stack[name]}
    if is_main():
        fold = inputs.files.fold(fold_name)
        data = with_fewer_labels(inputs.data, fold, config.label_fraction)
        write_stack(run.finetuned(name, fold_name), models, data, fold, config)


def main(run: Run) -> dict[str, Any]:
    """Train every model on every fold and predict the held-out cells; returns models and folds."""
    names, stacks = run.config.finetune.models, run.config.finetune.stack
    inputs = training_inputs(run)
    for fold_name in inputs.files.names():
        for name in names:
            folder = run.finetuned(name, fold_name)
            if agreed((folder / HELDOUT).exists()):
                continue
            config = run.config.finetune.recipe(run.config.seed, name, fold_name)
            if name in stacks:
                _write_stack(run, inputs, name, fold_name, config)
                continue
            train_and_predict(
                inputs, name, fold_name, config=config, folder=folder, title=f"{name} {fold_name}"
            )
    return {"models": names, "folds": inputs.files.names()}
