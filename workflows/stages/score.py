"""stefaland score workflows/configs/quickstart.yml

Held-out predictions of every model → scorecard.json: per site, pooled, by fold and region.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.files import write_json
from pipeline.core.provenance import provenance
from pipeline.cube.open import open_cube
from stefaland.metrics import (
    PairMoments,
    accumulate,
    coverage,
    finish,
    flow_duration,
    gaussian_crps,
    is_error,
    paired_difference,
    pool,
    summarise,
)  # fmt: skip
from stefaland.model.quantiles import NAMES, quantile_crps
from stefaland.tasks import values_of
from workflows.fingerprints import given_encoder_digests
from workflows.inputs.cells import cell_index, target_table
from workflows.inputs.checked_folds import check_folds, check_heldout
from workflows.inputs.folds import fold_names
from workflows.inputs.given_encoder import caveats
from workflows.inputs.site_targets import match_summary
from workflows.products.extra_scores import add_extra_scores, site_scores
from workflows.products.place_scores import place_card
from workflows.products.scored_sites import sites_path, write_scored_places, write_scored_sites
from workflows.run import Run, source_entries


def outputs(run: Run) -> list[Path]:
    """The scorecard, the held-out series it was made from, and the sites with their scores."""
    return [run.folder / "scorecard.json", run.folder / "heldout.zarr", sites_path(run)]


def models(run: Run) -> list[str]:
    """StefaLand and the run's baselines."""
    return ["stefaland", *run.config.finetune.baselines]


def heldout(
    run: Run, target: xr.Dataset, folder_of: Callable[[str, str], Path] | None = None,
    names: Sequence[str] = (),
) -> xr.Dataset:  # fmt: skip
    """Observed and predicted series of every held-out site.

    Dims (model, site, time): `predicted`, `spread` and, of models that have them, quantiles by
    name; (site, time): `observed`; coordinates `region` and `fold` of each site. The cells of one
    site (those that share a source cell of the target) are averaged, so that each independent value
    counts once. `target` is `target_table(run)`;
    `folder_of(name, fold)` holds the predictions of each of `names`, by default the run's models.
    """
    names, folder_of = names or models(run), folder_of or run.finetuned
    parts = []
    for fold in fold_names(run):
        of_models = [open_cube(folder_of(name, fold) / "heldout.zarr").load() for name in names]
        predicted = xr.concat(of_models, xr.Variable("model", list(names)))
        observed = target.sel(cell=predicted["cell"].values, time=predicted["time"].values)
        of_model = {str(name): da.transpose("model", "cell", "time")
                    for name, da in predicted.rename(mean="predicted").items()}  # fmt: skip
        table = xr.Dataset(
            {"observed": observed["target"], **of_model}, coords={"site": observed["site"]}
        ).where(observed["target"].notnull())
        regions = observed["region"].groupby(observed["site"]).first().values
        table = table.groupby("site").mean(skipna=True)
        parts.append(
            table.assign_coords(
                fold=("site", np.full(table.sizes["site"], fold)), region=("site", regions)
            )
        )
    return xr.concat(parts, "site", data_vars="all").transpose("model", "site", "time")


def main(run: Run) -> dict[str, Any]:
    """Write the scorecard; gives the ranking."""
    check_folds(run)
    stores = [(fold, run.finetuned(model, fold) / "heldout.zarr")
              for fold in fold_names(run) for model in models(run)]  # fmt: skip
    check_heldout(run, stores)
    if values_of(run.config.finetune.task) != "quantity":
        return _score_places(run)
    target = target_table(run)
    table = heldout(run, target)
    common, left_out = predicted_by_all(table)
    card = scorecard(run, common, left_out)
    _write_heldout(run, table)
    write_json(run.folder / "scorecard.json", finite(card | _caveats(run)))
    write_scored_sites(run, common, target)
    return {"best": card["ranking"][0], "sites": card["sites"]}


def _score_places(run: Run) -> dict[str, Any]:
    """The scorecard of targets that are one value a place."""
    table, card = place_card(run, models(run))
    _write_heldout(run, table)
    write_json(run.folder / "scorecard.json", finite(card | _caveats(run)))
    write_scored_places(run, table, cell_index(run, run.config.finetune.cube))
    return {"best": card["ranking"][0], "sites": card["sites"]}


def _caveats(run: Run) -> dict[str, Any]:
    """What a scorecard adds where the encoder was not pretrained by this run."""
    given = run.config.pretrain.from_checkpoint
    if given is None:
        return {}
    return {
        "caveats": caveats(run),
        "encoder": {"folder": str(given), "sha256": given_encoder_digests(run)},
    }


def _write_heldout(run: Run, table: xr.Dataset) -> None:
    with warnings.catch_warnings():
        # Text has no final Zarr v3 specification yet; xarray reads back what it wrote.
        warnings.simplefilter("ignore")
        table.to_zarr(run.folder / "heldout.zarr", mode="w", consolidated=False)


def finite(value: Any) -> Any:
    """Plain values as JSON has them: what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _moments(table: xr.Dataset, model: str) -> PairMoments:
    return accumulate(table["observed"].values, table["predicted"].sel(model=model).values)


def _pooled(moments: PairMoments, labels: Any = None) -> dict[str, dict[str, float]]:
    groups = pool(moments, labels)
    return {
        name: {score: float(value[0]) for score, value in finish(group).items()}
        for name, group in groups.items()
    }


def predicted_by_all(table: xr.Dataset) -> tuple[xr.Dataset, int]:
    """The table with observations only where every model has a prediction, and how many values were
    left out: models are judged on the same values.
    """
    predicted = table["predicted"].notnull().all("model")
    left_out = int((table["observed"].notnull() & ~predicted).sum())
    return table.assign(observed=table["observed"].where(predicted)), left_out


def model_scores(table: xr.Dataset, model: str, daily: bool) -> dict[str, Any]:
    """Everything the scorecard says of one model."""
    observed = table["observed"].values
    chosen = table.sel(model=model)
    predicted, spread = chosen["predicted"].values, chosen["spread"].values
    moments = _moments(table, model)
    by_site = finish(moments)
    if daily:
        by_site |= flow_duration(observed, predicted)
    scores: dict[str, Any] = {
        "pooled": _pooled(moments)["all"],
        "sites": summarise(by_site)["all"],
        "folds": _pooled(moments, table["fold"].values),
        "regions": _pooled(moments, table["region"].values),
        "seasons": {season: _pooled(_moments(part, model))["all"]
                    for season, part in table.groupby("time.season")},
    }  # fmt: skip
    quantiles = quantiles_of(chosen)
    if quantiles is not None:
        crps = quantile_crps(observed, quantiles)
        valid = np.isfinite(observed) & np.isfinite(quantiles).all(-1)
        held = (observed >= quantiles[..., 0]) & (observed <= quantiles[..., -1])
        share = float(held[valid].mean())
        scores["uncertainty"] = {"CRPS": np.nanmean(crps), "coverage_90": share}
    elif np.isfinite(spread).any():
        crps = gaussian_crps(observed, predicted, spread)
        inside = coverage(observed.ravel(), predicted.ravel(), spread.ravel())
        scores["uncertainty"] = {"CRPS": np.nanmean(crps), "coverage_90": float(inside)}
    return scores


def quantiles_of(table: xr.Dataset) -> np.ndarray | None:
    """[site, time, Q] of a model's table; None where it has none."""
    if not all(name in table for name in NAMES):
        return None
    values = np.stack([table[name].values for name in NAMES], -1)
    return values if np.isfinite(values).any() else None


def ranked(run: Run, scores: dict[str, Any]) -> list[str]:
    """Model names, the best first, by the configured score."""
    metric, over = run.config.score.metric, run.config.score.over
    values = {
        model: of[over][metric]["median"] if over == "sites" else of[over][metric]
        for model, of in scores.items()
    }
    sign = 1 if is_error(metric) else -1
    return sorted(
        values, key=lambda model: sign * values[model] if np.isfinite(values[model]) else np.inf
    )


def scorecard(run: Run, table: xr.Dataset, not_predicted: int) -> dict[str, Any]:
    """The scores of all models on held-out sites, their ranking, and paired differences.

    `table` and `not_predicted` are what `predicted_by_all` gives.
    """
    daily = table.sizes["time"] > 60
    scores = {model: model_scores(table, model, daily) for model in models(run)}
    add_extra_scores(scores, table, run.config.score)
    metric = run.config.score.metric if run.config.score.over == "sites" else "RMSE"
    sign = -1.0 if is_error(metric) else 1.0
    own = sign * site_scores(table, "stefaland", metric)
    differences = {
        model: {
            "metric": metric,
            **paired_difference(
                own, sign * site_scores(table, model, metric), seed=run.config.seed
            ),
        }
        for model in run.config.finetune.baselines
    }
    target = run.variables[run.config.inputs.target]
    return {
        "target": run.config.inputs.target,
        "units": target.units,
        "fold_kind": run.config.folds.kind,
        "rank_by": run.config.score.model_dump(),
        "sites": int(table.sizes["site"]),
        "matched_sites": match_summary(run),
        "not_predicted": not_predicted,
        "models": scores,
        "ranking": ranked(run, scores),
        "stefaland_minus": differences,
        "provenance": provenance(run.config.model_dump(mode="json"), source_entries(run)),
    }
