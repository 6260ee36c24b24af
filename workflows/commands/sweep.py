"""stefaland sweep CONFIG --seeds 0,1,2 --adapters dual_residual,gated --part 1/8

Folds × seeds × adapters, and baselines, as work items with markers: processes or array jobs share
them and any may die; a last call without --part does what is left and tells the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.table import Table

from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.core.files import write_json
from pipeline.core.provenance import fingerprint
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from stefaland.baselines.registry import BASELINES
from stefaland.data.cell_data import CellData
from stefaland.metrics import is_error, paired_difference, score_series
from stefaland.model.adapters import ADAPTERS
from stefaland.tasks import values_of
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.cells import target_table
from workflows.inputs.checked_folds import check_encoders, check_folds, check_heldout
from workflows.inputs.folds import fold_names
from workflows.products.place_scores import RANK, heldout_places, scores_of
from workflows.run import CONSOLE, Run
from workflows.stages.finetune import train_and_predict, training_data, training_settings
from workflows.stages.markers import run_lock
from workflows.stages.order import stage_state
from workflows.stages.score import finite, heldout

WITH_ADAPTER = ("stefaland", "scratch")
WITHOUT_SEED = ("climatology", "ridge", "persistence")
"""Baselines that no random number enters: one item a fold."""


@dataclass(frozen=True)
class Item:
    """One training: a model, its adapter (of those that have one), a seed and a fold."""

    model: str
    adapter: str
    seed: int
    fold: str

    @property
    def variant(self) -> str:
        """Model and adapter: what is compared."""
        return f"{self.model}:{self.adapter}" if self.adapter else self.model

    @property
    def name(self) -> str:
        """The item's marker and folder."""
        return f"{self.variant.replace(':', '_')}-seed{self.seed}-{self.fold}"


def items(
    folds: Sequence[str], models: Sequence[str], adapters: Sequence[str], seeds: Sequence[int]
) -> list[Item]:
    """Every training of the sweep, in an order that deals long and short ones to all parts."""
    return [
        Item(model, adapter, seed, fold)
        for seed in seeds
        for model in models
        for adapter in (adapters if model in WITH_ADAPTER else ("",))
        for fold in folds
        if seed == seeds[0] or model not in WITHOUT_SEED
    ]


def check_names(models: Sequence[str], adapters: Sequence[str], seeds: Sequence[int]) -> None:
    """`InputError` with every unknown model and adapter, and for seeds given twice."""
    faults = Faults()
    for option, given, known in (
        ("--models", models, ["stefaland", *BASELINES.names()]),
        ("--adapters", adapters, ADAPTERS.names()),
    ):
        for name in given:
            if name not in known:
                faults.add(option, f'"{name}"', f"of {', '.join(known)}", nearest_name(name, known))
    if len(set(seeds)) < len(seeds) or not seeds:
        faults.add("--seeds", ", ".join(map(str, seeds)) or "none", "different numbers")
    faults.raise_if_any()


def sweep_fingerprint(run: Run) -> str:
    """A hash of all that decides the items' results but their own adapter and seed."""
    settings = training_settings(run).model_dump(mode="json", exclude={"seed", "adapter"})
    return fingerprint([stage_fingerprint(run, "pretrain"), settings])


def folder_of(run: Run, item: Item) -> Path:
    """Where an item's checkpoint and predictions are."""
    return run.folder / "sweep" / sweep_fingerprint(run)[:12] / item.name


def train_item(run: Run, data: CellData, item: Item) -> dict[str, Any]:
    """Train one item and predict its fold's held-out cells."""
    settings = {"seed": item.seed} | ({"adapter": item.adapter} if item.adapter else {})
    config = training_settings(run).model_copy(update=settings)
    train_and_predict(run, data, item.model, item.fold, config, folder_of(run, item), item.name)
    return {}


def sweep(
    run: Run, seeds: Sequence[int], adapters: Sequence[str], models: Sequence[str]
) -> dict[str, Any] | None:
    """Do this part's items; without parts, tell the scores of all variants and write sweep.json."""
    check_names(models, adapters, seeds)
    if not stage_state(run, "pretrain").is_finished:
        raise bad_input(
            f"sweep of {run.config.name}", "stage pretrain not finished under these settings",
            "a pretrained encoder for every fold", "Run `stefaland run CONFIG --until pretrain`.",
        )  # fmt: skip
    todo = items(fold_names(run), models, adapters, seeds)
    with run_lock(run.folder, shared=run.part != (1, 1)):
        check_folds(run)
        check_encoders(run)
        data = training_data(run)
        ledger = Ledger(run.folder / "ledger" / "sweep", sweep_fingerprint(run))
        run_stage("sweep", todo, partial(train_item, run, data), ledger, part=run.part)
    if run.part != (1, 1):
        return None
    check_heldout(run, [(item.fold, folder_of(run, item) / "heldout.zarr") for item in todo])
    scores = variant_scores(run, todo)
    write_json(run.folder / "sweep.json", finite(scores))
    _print(run, scores)
    return scores


@dataclass(frozen=True)
class Judged:
    """A variant's scores of each seed, of each site over all seeds, of the mean prediction."""

    by_seed: np.ndarray
    by_site: np.ndarray
    ensemble: float


def variant_scores(run: Run, todo: Sequence[Item]) -> dict[str, Any]:
    """Of each variant: its score by seed, their mean and spread over seeds, and the paired
    difference of its sites' scores from the first variant's.

    Only what all variants predict counts. Of series the score of a seed is the median over sites;
    of one value a place it is pooled, and a site's is its root mean square error.
    """
    is_series = values_of(run.config.finetune.task) == "quantity"
    metric = run.config.score.metric if is_series else RANK[values_of(run.config.finetune.task)]
    target = target_table(run) if is_series else None
    variants = list(dict.fromkeys(item.variant for item in todo))
    judged: dict[str, Judged] = {}
    tables = {
        variant: _heldout(run, target, [item for item in todo if item.variant == variant])
        for variant in variants
    }
    complete = np.logical_and.reduce(
        [np.isfinite(table["predicted"].values).all(0) for table in tables.values()]
    )
    result: dict[str, Any] = {"metric": metric, "order": variants, "variants": {}}
    for variant in variants:
        seeds = tables[variant]["model"].values.tolist()
        judged[variant] = of = (_judged_series if is_series else _judged_places)(
            run, tables[variant], complete
        )
        result["variants"][variant] = {
            "seeds": dict(zip(seeds, of.by_seed.tolist(), strict=True)),
            "mean": float(of.by_seed.mean()),
            "std": float(of.by_seed.std(ddof=1)) if len(seeds) > 1 else float("nan"),
            "ensemble": of.ensemble,
            "minus_first": paired_difference(
                of.by_site, judged[variants[0]].by_site, seed=run.config.seed
            ),
        }
    return result


def _heldout(run: Run, target: xr.Dataset | None, own: Sequence[Item]) -> xr.Dataset:
    """What a variant's items predict of the held-out sites, a seed a "model"."""
    known = {(str(item.seed), item.fold): folder_of(run, item) for item in own}
    seeds = [str(seed) for seed in sorted({item.seed for item in own})]
    if target is None:
        return heldout_places(run, seeds, lambda seed, fold: known[seed, fold])
    return heldout(run, target, lambda seed, fold: known[seed, fold], seeds)


def _judged_series(run: Run, table: xr.Dataset, complete: np.ndarray) -> Judged:
    metric = run.config.score.metric
    observed = np.where(complete, table["observed"].values, np.nan)
    predicted = table["predicted"].values
    sites = np.stack([score_series(metric, observed, of) for of in predicted])
    mean = score_series(metric, observed, predicted.mean(0))
    return Judged(np.nanmedian(sites, 1), sites.mean(0), float(np.nanmedian(mean)))


def _judged_places(run: Run, table: xr.Dataset, complete: np.ndarray) -> Judged:
    task = run.config.finetune.task
    table = table.isel(site=complete.all(-1))
    rank = RANK[values_of(task)]
    by_seed = [scores_of(task, table, seed)[rank] for seed in table["model"].values.tolist()]
    mean = table["predicted"].mean("model").expand_dims(model=["mean"])
    ensemble = scores_of(task, table[["observed"]].assign(predicted=mean), "mean")[rank]
    error = table["predicted"].values - table["observed"].values
    sites = np.sqrt((error**2).mean(-1))
    return Judged(np.array(by_seed), sites.mean(0), ensemble)


def _print(run: Run, scores: dict[str, Any]) -> None:
    metric = scores["metric"]
    better = "lower" if metric in RANK.values() or is_error(metric) else "higher"
    over = "median" if values_of(run.config.finetune.task) == "quantity" else "pooled"
    table = Table(
        "variant", f"{over} {metric} by seed", "mean ± std", "of the mean prediction",
        "minus the first (95 %)", title=f"{run.config.name}: {better} is better",
    )  # fmt: skip
    for variant in scores["order"]:
        of = scores["variants"][variant]
        gap = of["minus_first"]
        table.add_row(
            variant, ", ".join(f"{value:.3f}" for value in of["seeds"].values()),
            f"{of['mean']:.3f} ± {of['std']:.3f}", f"{of['ensemble']:.3f}",
            f"{gap['difference']:.3f} ({gap['low']:.3f} to {gap['high']:.3f})",
        )  # fmt: skip
    CONSOLE.print(table)
