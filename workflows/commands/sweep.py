"""Trainings of folds × seeds × adapters and of baselines: `stefaland sweep CONFIG --seeds 0,1,2`.

Each training is a work item with a marker in the ledger, so that processes or array jobs share the
items and any of them may fail. A last call without --part does what is left, makes the stacks and
prints the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.table import Table

from pipeline.core.errors import Faults, nearest_name
from pipeline.core.files import write_json
from pipeline.core.provenance import fingerprint
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import part_of, run_stage
from pipeline.fetch.manifest import digest_of_all
from stefaland.folds.visible import with_fewer_labels
from stefaland.metrics import is_error, paired_difference, score_series
from stefaland.tasks import values_of
from workflows.commands.sweep_items import (
    Item,
    Stacks,
    check_names,
    items,
    stack_items,
    stacked_items,
)
from workflows.config.finetuning import FinetuneSettings
from workflows.console import REPORT
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.checked_folds import check_heldout
from workflows.inputs.folds import FoldFiles
from workflows.products.heldout import heldout_series, heldout_static, series_names, write_stack
from workflows.products.series_scores import finite
from workflows.products.static_scores import RANK, scores_of
from workflows.run import Run
from workflows.stages.finetune import (
    TrainingInputs,
    train_and_predict,
    training_inputs,
)
from workflows.stages.markers import run_lock
from workflows.stages.order import require_finished
from workflows.stages.unpack import labelled_cells

SEAL = "predictions"
"""Key of the digest of an item's held-out predictions in its marker."""
MADE_OF = "models"
"""Key of the digests of a stack's models in its marker."""


def chosen_folds(wanted: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """The wanted folds, or all; raises `InputError` that lists every unknown one."""
    faults = Faults()
    for name in wanted:
        if name not in known:
            expected = f"one of {', '.join(known)}"
            faults.add("--folds", f'"{name}"', expected, nearest_name(name, known))
    faults.raise_if_any()
    return wanted or known


def sweep_fingerprint(pretraining: str, settings: FinetuneSettings) -> str:
    """Hash of everything that decides the results of the items, except their adapter and seed.

    It covers the fingerprint of the pretraining, the finetuning settings, those of single models,
    and how far windows of a prediction overlap; the adapter too where single models have their own.
    """
    config = settings.recipe(0)
    of_all = config.model_dump(mode="json", exclude={"seed", "adapter"})
    of_single = settings.model_dump(mode="json", include={"of", "of_folds"})
    if own_adapters(settings, settings.models) == [""]:
        # Items are named without an adapter then.
        of_single["adapter"] = settings.adapter
    return fingerprint([pretraining, of_all, config.overlap_steps, *filter(None, [of_single])])


def own_adapters(settings: FinetuneSettings, models: Sequence[str]) -> list[str]:
    """The adapter of the config; none is named where models or folds have adapters of their own."""
    changes = [settings.of, *settings.of_folds.values()]
    is_own = any("adapter" in of.get(model, {}) for of in changes for model in models)
    return [""] if is_own else [settings.adapter]


def sweep_key(run: Run) -> str:
    """Fingerprint of the sweeps of a run."""
    return sweep_fingerprint(stage_fingerprint(run, "pretrain"), run.config.finetune)


def sweep_folder(run: Run) -> Path:
    """Folder of the items of a run's sweeps under these settings, one folder each."""
    return run.folder / "sweep" / sweep_key(run)[:12]


def train_item(
    inputs: TrainingInputs, settings: FinetuneSettings, folder: Path, item: Item
) -> dict[str, Any]:
    """Train one item below `folder` and predict its fold's held-out cells."""
    config = settings.recipe(item.seed, item.model, item.fold)
    if item.adapter:
        config = config.model_copy(update={"adapter": item.adapter})
    train_and_predict(
        inputs, item.model, item.fold, config=config, folder=folder / item.name, title=item.name
    )
    return {SEAL: predictions_digest(folder, item)}


def make_stack(
    inputs: TrainingInputs, settings: FinetuneSettings, folder: Path, first_seed: int, item: Item
) -> dict[str, Any]:
    """Make one stack of models that were trained below `folder`, and predict as they do."""
    of = stacked_items(item, settings.stack[item.model], first_seed)
    fold = inputs.files.fold(item.fold)
    data = with_fewer_labels(inputs.data, fold, settings.label_fraction)
    write_stack(
        folder / item.name, {model: folder / one.name for model, one in of.items()},
        data, fold, settings.recipe(item.seed),
    )  # fmt: skip
    made_of = {one.name: predictions_digest(folder, one) for one in of.values()}
    return {SEAL: predictions_digest(folder, item), MADE_OF: made_of}


def forget_outdated(
    ledger: Ledger, todo: Sequence[Item], stacks: Stacks, first_seed: int, folder: Path
) -> None:
    """Remove the markers of stacks of which a model has been trained again, to other values."""
    known = ledger.summaries()
    for item in todo:
        of = stacked_items(item, stacks[item.model], first_seed).values()
        digests = {one.name: predictions_digest(folder, one) for one in of}
        if item.name in known and known[item.name].get(MADE_OF) != digests:
            ledger.forget(item.name)


def predictions_digest(folder: Path, item: Item) -> str:
    """SHA-256 of the held-out predictions of an item; empty where there are none."""
    store = folder / item.name / "heldout.zarr"
    files = [path for path in store.rglob("*") if path.is_file()]
    return digest_of_all(store, files)[0] if files else ""


def forget_damaged(ledger: Ledger, todo: Sequence[Item], folder: Path) -> list[str]:
    """Remove the markers of items whose predictions are not those that were written.

    Returns their names; markers of version 0.2.0 have no digest, and are kept.
    """
    sealed = {name: found[SEAL] for name, found in ledger.summaries().items() if SEAL in found}
    items = [item for item in todo if item.name in sealed]
    found = [item.name for item in items if predictions_digest(folder, item) != sealed[item.name]]
    for name in found:
        ledger.forget(name)
    return found


def require_pretrained(run: Run) -> None:
    """Raise `InputError` unless the stages before finetuning are finished and their files whole."""
    encoders = "a pretrained encoder for every fold"
    require_finished(run, "pretrain", "finetune", "sweep", encoders)


def sound(
    ledger: Ledger, todo: Sequence[Item], folder: Path, part: tuple[int, int] = (1, 1)
) -> Ledger:
    """The ledger without markers of items of this part whose predictions are damaged."""
    for name in forget_damaged(ledger, part_of(todo, part), folder):
        REPORT.print(f"WARNING: {name}: its predictions were lost or changed, and are made again")
    return ledger


def sweep(
    run: Run, seeds: Sequence[int], adapters: Sequence[str], models: Sequence[str],
    folds: Sequence[str] = (),
) -> dict[str, Any] | None:  # fmt: skip
    """Do the items of this part; without parts, print the scores and write sweep.json.

    `folds` are the names of some folds, by default all. Returns the scores of all variants, or None
    for a part.
    """
    tables = swept_tables(run, seeds, adapters, models, folds)
    if tables is None:
        return None
    task = run.config.finetune.task
    metric = run.config.score.metric if _is_series(task) else RANK[values_of(task)]
    scores = variant_scores(tables, task, metric, run.config.seed)
    better = "higher" if _is_series(task) and not is_error(metric) else "lower"
    over = "median" if _is_series(task) else "pooled"
    REPORT.print(score_table(scores, f"{run.config.name}: {better} is better", over))
    scores = finite(scores)
    write_json(run.folder / "sweep.json", scores)
    return scores


def swept_tables(
    run: Run, seeds: Sequence[int], adapters: Sequence[str], models: Sequence[str],
    folds: Sequence[str] = (),
) -> dict[str, xr.Dataset] | None:  # fmt: skip
    """Do the items of this part; the held-out predictions of each variant, or None for a part.

    `folds` are the names of some folds, by default all.
    """
    settings = run.config.finetune
    check_names(models, adapters, seeds, settings.stack)
    require_pretrained(run)
    files = FoldFiles(run.folder)
    of_folds = chosen_folds(folds, files.names())
    adapters = adapters or own_adapters(settings, models)
    alone = [model for model in models if model not in settings.stack]
    todo = items(of_folds, alone, adapters, seeds)
    stacks = {name: of for name, of in settings.stack.items() if name in models}
    stacked = stack_items(of_folds, stacks, adapters, seeds)
    key, folder = sweep_key(run), sweep_folder(run)
    with run_lock(run.folder, shared=run.part != (1, 1)):
        made = training_inputs(run)
        ledger = Ledger(run.folder / "ledger" / "sweep", key)
        step = partial(train_item, made, settings, folder)
        run_stage("sweep", todo, step, sound(ledger, todo, folder, run.part), part=run.part)
        if run.part != (1, 1):
            return None
        forget_outdated(ledger, stacked, stacks, seeds[0], folder)
        step = partial(make_stack, made, settings, folder, seeds[0])
        run_stage("stacks", stacked, step, sound(ledger, stacked, folder))
        todo += stacked
    check_heldout(files, [(item.fold, folder / item.name / "heldout.zarr") for item in todo])
    targets, is_series = run.config.inputs.targets, _is_series(settings.task)
    return variant_tables(labelled_cells(run), targets, is_series, todo, folder)


def _is_series(task: str) -> bool:
    """Whether a task's target is a series; otherwise it has one value for each site."""
    return values_of(task) == "quantity"


def variant_tables(
    cells: xr.Dataset, targets: Sequence[str], is_series: bool, todo: Sequence[Item], folder: Path
) -> dict[str, xr.Dataset]:
    """Held-out predictions of each variant, by its name; the dim `model` holds the seeds.

    `cells` are the labelled cells of the finetuning cube, with the `targets`; of several series the
    first is compared.
    """
    tables = {}
    for variant in dict.fromkeys(item.variant for item in todo):
        stores: dict[str, dict[str, Path]] = {}
        mine = (item for item in todo if item.variant == variant)
        for item in sorted(mine, key=lambda item: (item.fold, item.seed)):
            path = folder / item.name / "heldout.zarr"
            stores.setdefault(item.fold, {})[str(item.seed)] = path
        tables[variant] = (
            heldout_series(cells[targets[0]], stores, series_names(targets)[targets[0]])
            if is_series
            else heldout_static(cells, targets, stores)
        )
    return tables


@dataclass(frozen=True)
class SeedScores:
    """Scores of one variant: of each seed, of each site over all seeds, of the mean prediction."""

    by_seed: np.ndarray
    by_site: np.ndarray
    ensemble: float


def variant_scores(
    tables: Mapping[str, xr.Dataset], task: str, metric: str, seed: int
) -> dict[str, Any]:
    """Scores of each variant by seed, their mean and standard deviation, and paired differences.

    The difference is that of the sites' scores from those of the first variant. Only values that
    all variants predict count. For series the score of a seed is the median over sites; for static
    targets it is pooled, and the score of a site is its root mean square error. `seed` is that of
    the bootstrap draws.
    """
    complete = np.logical_and.reduce(
        [np.isfinite(table["predicted"].values).all(0) for table in tables.values()]
    )
    seed_scores = {
        variant: _series_seed_scores(table, complete, metric)
        if _is_series(task)
        else _static_seed_scores(table, complete, task)
        for variant, table in tables.items()
    }
    first = next(iter(seed_scores.values()))
    result: dict[str, Any] = {"metric": metric, "order": list(tables), "variants": {}}
    for variant, scores in seed_scores.items():
        seeds = tables[variant]["model"].values.tolist()
        result["variants"][variant] = {
            "seeds": dict(zip(seeds, scores.by_seed.tolist(), strict=True)),
            "mean": float(scores.by_seed.mean()),
            "std": float(scores.by_seed.std(ddof=1)) if len(seeds) > 1 else float("nan"),
            "ensemble": scores.ensemble,
            "minus_first": paired_difference(scores.by_site, first.by_site, seed=seed),
        }
    return result


def _series_seed_scores(table: xr.Dataset, complete: np.ndarray, metric: str) -> SeedScores:
    observed = np.where(complete, table["observed"].values, np.nan)
    predicted = table["predicted"].values
    sites = np.stack([score_series(metric, observed, values) for values in predicted])
    mean = score_series(metric, observed, predicted.mean(0))
    return SeedScores(np.nanmedian(sites, 1), sites.mean(0), float(np.nanmedian(mean)))


def _static_seed_scores(table: xr.Dataset, complete: np.ndarray, task: str) -> SeedScores:
    table = table.isel(site=complete.all(-1))
    rank = RANK[values_of(task)]
    by_seed = [scores_of(task, table, seed)[rank] for seed in table["model"].values.tolist()]
    mean = table["predicted"].mean("model").expand_dims(model=["mean"])
    ensemble = scores_of(task, table[["observed"]].assign(predicted=mean), "mean")[rank]
    error = table["predicted"].values - table["observed"].values
    sites = np.sqrt((error**2).mean(-1))
    return SeedScores(np.array(by_seed), sites.mean(0), ensemble)


def score_table(
    scores: Mapping[str, Any], title: str, over: str = "median", what: str = "variant"
) -> Table:
    """The scores of all variants as a table; `over` is how those of sites are brought together."""
    table = Table(
        what, f"{over} {scores['metric']} by seed", "mean ± std", "of the mean prediction",
        "minus the first (95 %)", title=title,
    )  # fmt: skip
    for variant in scores["order"]:
        table.add_row(variant, *score_texts(scores["variants"][variant]))
    return table


def score_texts(scores: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Scores of a variant: by seed, mean ± std, of the mean prediction, minus the first.

    They have three decimals, and four where they are below 0.1, as errors of soil moisture are.
    """
    gap, places = scores["minus_first"], 3 if abs(scores["mean"]) >= 0.1 else 4
    return (
        ", ".join(f"{value:.{places}f}" for value in scores["seeds"].values()),
        f"{scores['mean']:.{places}f} ± {scores['std']:.{places}f}",
        f"{scores['ensemble']:.{places}f}",
        f"{gap['difference']:.{places}f} ({gap['low']:.{places}f} to {gap['high']:.{places}f})",
    )
