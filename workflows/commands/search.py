"""Search of finetuning settings on validation cells: `stefaland sweep CONFIG --search`.

A study is the search of one model, on one fold or on all of them. Each of its trials is trained on
the training cells and judged on the validation cells; the targets of all others are removed before.
Every training has a marker in the ledger and is never trained again, and the settings of a trial
are a function of the trials before it: a killed search continues with the same trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml
from rich.table import Table

from pipeline.core.errors import LIBRARY_ERRORS, InputError, bad_input, listed
from pipeline.core.files import read_json, write_json, write_text
from pipeline.core.provenance import fingerprint
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from stefaland.baselines.settings_read import reads
from stefaland.config import FinetuneConfig
from stefaland.folds.visible import without_test
from stefaland.metrics import is_error
from stefaland.tasks import values_of
from stefaland.training.finite_loss import NotFiniteError
from workflows.commands.sweep import chosen_folds, require_pretrained
from workflows.commands.sweep_items import check_names
from workflows.config.finetuning import FinetuneSettings
from workflows.config.merged import merged
from workflows.config.ranking import ScoreSettings
from workflows.config.searching import SearchSettings, nested
from workflows.config.trials import Space, Trial, propose, require_optuna
from workflows.console import REPORT
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.folds import FoldFiles
from workflows.products.heldout import VALIDATION, write_validation
from workflows.products.series_scores import finite
from workflows.products.static_scores import RANK
from workflows.run import Run
from workflows.stages.finetune import TrainingInputs, train_in, training_inputs
from workflows.stages.mapped import validation_card
from workflows.stages.markers import run_lock
from workflows.stages.unpack import labelled_cells

SCORE = "score"
"""Key of a training's score in its marker; None where its loss was not finite."""


@dataclass(frozen=True)
class Study:
    """The search of the settings of one model, judged on the validation cells of some folds."""

    model: str
    folds: tuple[str, ...]
    fold: str
    """The fold that the settings are for; empty for all."""

    @property
    def name(self) -> str:
        """Name of the study's marker."""
        return f"{self.model}-{self.fold or fingerprint(self.folds)}"


def studies(models: Sequence[str], folds: Sequence[str], choice: str) -> list[Study]:
    """Every study of a search: one for each model and fold, or one for each model."""
    if choice == "run":
        return [Study(model, tuple(folds), "") for model in models]
    return [Study(model, (fold,), fold) for fold in folds for model in models]


@dataclass(frozen=True)
class Search:
    """What the studies of a search share."""

    inputs: TrainingInputs
    observed: xr.Dataset
    """The labelled cells of the finetuning cube with their targets."""
    finetune: FinetuneSettings
    settings: SearchSettings
    seed: int
    targets: tuple[str, ...]
    folder: Path
    ledger: Ledger
    """The markers of trainings."""

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the studies."""
        own = [self.finetune.model_dump(mode="json"), self.settings.model_dump(mode="json")]
        return fingerprint([self.ledger.fingerprint, *own, self.seed])

    @property
    def base(self) -> str:
        """Hash of what decides the scores of settings; the studies of equal ones go together."""
        recipe = self.finetune.recipe(self.seed).model_dump(mode="json")
        return fingerprint([self.ledger.fingerprint, recipe, self.settings.choice])

    def own(self, study: Study) -> dict[str, Any]:
        """The config's settings of the model of a study, or of it in its fold alone."""
        of = self.finetune.of_folds.get(study.fold, {}) if study.fold else self.finetune.of
        return dict(of.get(study.model, {}))

    @property
    def lower_is_better(self) -> bool:
        """Whether the best trial is that of the lowest score."""
        return values_of(self.finetune.task) != "quantity" or is_error(self.settings.metric)

    def space(self, model: str) -> Space:
        """The values of the settings that the model reads."""
        space = self.settings.space(self.finetune)
        return {name: values for name, values in space.items() if reads(model, name)}

    def run(self, study: Study) -> dict[str, Any]:
        """Try the settings of a study; returns its trials and the best of them."""
        space, tried, trials = self.space(study.model), list[Trial](), list[dict[str, Any]]()
        # A model without a setting to search is trained once, as it is.
        for number in range(self.settings.trials if space else 1):
            settings = {} if number == 0 else propose(
                space, tried, seed=self.seed, lower_is_better=self.lower_is_better
            )  # fmt: skip
            scores = {fold: self.score(study.model, fold, settings) for fold in study.folds}
            known = [np.nan if score is None else score for score in scores.values()]
            tried.append(Trial(settings, float(np.mean(known))))
            trials.append({"settings": settings, SCORE: tried[-1].score, "folds": scores})
        return {
            "model": study.model, "fold": study.fold, "own": self.own(study), "trials": trials,
            "best": best_of(tried, self.lower_is_better),
        }  # fmt: skip

    def score(self, model: str, fold: str, settings: Mapping[str, Any]) -> float | None:
        """The score of a model with these settings on the validation cells of a fold."""
        of_model = self.finetune.changes(model, fold)
        config = self.finetune.changed(merged(of_model, nested(dict(settings))), self.seed)
        name = f"{model}-{fold}-{fingerprint(config.model_dump(mode='json'))}"
        known = self.ledger.summary(name)
        if known is None:
            try:
                value = self._trained(model, fold, config, name)
            except InputError as error:
                # Settings of a trial may not go together; those of the config are to be mended.
                if not (settings or isinstance(error, NotFiniteError)):
                    raise
                value = None
            known = {SCORE: value, "settings": settings}
            self.ledger.mark(name, known)
        return known[SCORE]

    def _trained(self, model: str, fold: str, config: FinetuneConfig, name: str) -> float | None:
        part = self.inputs.files.fold(fold)
        inputs = replace(self.inputs, data=without_test(self.inputs.data, part))
        folder = self.folder / name
        predictor = train_in(inputs, model, fold, config=config, folder=folder, title=name)
        write_validation(folder / VALIDATION, inputs.data, part, predictor, config)
        card = validation_card(
            self.observed.sel(cell=part.validation), self.targets,
            {fold: {model: folder / VALIDATION}}, config.task,
            ScoreSettings(metric=self.settings.metric, over=self.settings.over), self.seed,
            in_spreads=len(self.targets) > 1,
        )  # fmt: skip
        # Several targets count alike, whatever their units are.
        value = float(np.mean([_score(one, model)
                               for one in card.get("targets", {"": card}).values()]))  # fmt: skip
        return value if np.isfinite(value) else None


def _score(card: Mapping[str, Any], model: str) -> float:
    """The ranking score of a model in a scorecard."""
    rank_by = card["rank_by"]
    score = card["models"][model][rank_by["over"]][rank_by["metric"]]
    return float(score["median"] if rank_by["over"] == "sites" else score)


def best_of(tried: Sequence[Trial], lower_is_better: bool) -> int | None:
    """Number of the best trial, the first of equal ones; None where none has a score."""
    scores = np.array([trial.score for trial in tried])
    if not np.isfinite(scores).any():
        return None
    return int(np.nanargmin(scores) if lower_is_better else np.nanargmax(scores))


def open_search(run: Run) -> Search:
    """The search of a run that has been pretrained, with the markers of its trainings."""
    config, settings = run.config, run.config.search
    scores = [settings.metric, settings.over]
    if values_of(config.finetune.task) == "quantity" and len(config.inputs.targets) > 1:
        scores.append("in spreads")
    key = fingerprint([stage_fingerprint(run, "pretrain"), *scores])
    return Search(
        training_inputs(run), labelled_cells(run), config.finetune, settings, config.seed,
        config.inputs.targets, run.folder / "search" / key,
        Ledger(run.folder / "ledger" / "search", key).open(),
    )  # fmt: skip


def search(run: Run, models: Sequence[str], folds: Sequence[str] = ()) -> dict[str, Any] | None:
    """Do the studies of this part; without parts, print them and write the chosen settings.

    `folds` are the names of some folds, by default all. Returns the studies, with those of searches
    of other models and folds before, and the file of the chosen settings, or None for a part.
    """
    require_optuna("stefaland sweep --search")
    check_names(models, _adapters(run.config.search), [0])
    require_pretrained(run)
    config, files = run.config, FoldFiles(run.folder)
    folds = chosen_folds(folds, files.names())
    if alone := [fold for fold in folds if not len(files.fold(fold).validation)]:
        raise bad_input(
            "stefaland sweep --search", f"no validation cells in {', '.join(alone)}",
            "validation cells in every fold", "Set folds.validation_share, and rerun stats.",
        )  # fmt: skip
    if config.search.choice == "run" and config.finetune.of_folds:
        raise bad_input(
            "stefaland sweep --search", "search.choice run with settings of single folds",
            "settings of models alone, which those of folds would override",
            "Remove finetune.of_folds, or set search.choice to fold.",
        )  # fmt: skip
    todo = studies(models, folds, config.search.choice)
    with run_lock(run.folder, shared=run.part != (1, 1)):
        made, path = open_search(run), run.folder / "search.json"
        former = former_studies(path, made.base, todo)
        ledger = Ledger(run.folder / "ledger" / "search-studies", made.fingerprint)
        run_stage("search", todo, made.run, ledger, part=run.part)
    if run.part != (1, 1):
        return None
    found = ledger.summaries()
    rank, file = RANK.get(values_of(config.finetune.task)), run.folder / "search" / "chosen.yml"
    result = finite({
        "metric": rank or config.search.metric,
        "over": "pooled" if rank else config.search.over,
        "fingerprint": made.base,
        "studies": [*former, *(found[study.name] for study in todo)],
        "file": str(file),
    })  # fmt: skip
    write_json(path, result)
    write_text(file, yaml.safe_dump(chosen_settings(result["studies"]), sort_keys=False))
    _print(config.name, result, config.inputs.targets if rank is None else ())
    return result


def former_studies(path: Path, base: str, todo: Sequence[Study]) -> list[dict[str, Any]]:
    """The studies in a `search.json` of other models or folds than those of this search.

    They are kept beside those of this search. Raises `InputError` where their scores are of other
    settings (`base`), so that they would be lost, and for a file that holds no studies.
    """
    stored = read_json(path, "studies") if path.exists() else {"studies": []}
    now = {(study.model, study.fold) for study in todo}
    try:
        kept = [study for study in stored["studies"] if (study["model"], study["fold"]) not in now]
    except LIBRARY_ERRORS as error:
        raise bad_input(
            f"{path}: studies", f"{type(error).__name__}: {error}", "studies as they were written",
            "Delete it and search again: what has been trained is not trained again.",
        ) from None  # fmt: skip
    if kept and stored.get("fingerprint") != base:
        names = [" ".join(filter(None, [study["model"], study["fold"]])) for study in kept]
        raise bad_input(
            str(path), f"a search of other settings, with {listed(names)}",
            "one of these settings, which this search adds to",
            "Move it and search/chosen.yml elsewhere, set another name, or search all of its "
            "models and folds.",
        )  # fmt: skip
    return kept


def chosen_settings(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The chosen settings of all studies as a part of a config, `finetune.of` or `of_folds`.

    They lie on the config's own of the same model, which may be those of a search before.
    """
    chosen: dict[str, Any] = {}
    for study in found:
        settings = merged(study["own"], nested(_best_settings(study)))
        if not settings:
            continue
        of_model = {study["model"]: settings}
        of_fold = {"of_folds": {study["fold"]: of_model}} if study["fold"] else {"of": of_model}
        chosen = merged(chosen, of_fold)
    return {"finetune": chosen}


def _best_settings(study: Mapping[str, Any]) -> dict[str, Any]:
    return {} if study["best"] is None else study["trials"][study["best"]]["settings"]


def _adapters(settings: SearchSettings) -> list[str]:
    values = settings.values.get("adapter", ())
    return [str(name) for name in values] if isinstance(values, tuple) else []


def _print(name: str, result: Mapping[str, Any], targets: Sequence[str]) -> None:
    over = "median" if result["over"] == "sites" else "pooled"
    scaled = f", mean of {len(targets)} targets in their standard deviations"
    table = Table(
        "model", "fold", "trials", "as configured", "best", "chosen settings",
        title=f"{name}: {over} {result['metric']} of validation cells"
        + scaled * (len(targets) > 1),
        caption=f"To use them: `extends: [CONFIG, {result['file']}]` in a config.",
    )  # fmt: skip
    for study in result["studies"]:
        trials, best = study["trials"], study["best"]
        scores = [trials[0][SCORE], None if best is None else trials[best][SCORE]]
        settings = _best_settings(study)
        table.add_row(
            study["model"], study["fold"] or "all", str(len(trials)),
            *("none" if score is None else f"{score:.4g}" for score in scores),
            ", ".join(f"{key}={_short(value)}" for key, value in settings.items())
            or "those of the config",
        )  # fmt: skip
    REPORT.print(table)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
