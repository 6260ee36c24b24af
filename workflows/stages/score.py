"""stefaland score workflows/configs/quickstart.yml

The scores of all models' held-out predictions, as scorecard.json.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from pipeline.core.files import new_folder, read_json, write_json
from pipeline.core.provenance import provenance
from pipeline.core.written.references import as_written
from stefaland.tasks import values_of
from workflows.fingerprints import checkpoint_digests
from workflows.inputs.checked_folds import check_heldout
from workflows.inputs.choice import Choice
from workflows.inputs.folds import FoldFiles
from workflows.inputs.given_encoder import caveats
from workflows.inputs.site_targets import match_summary
from workflows.products.heldout import Stores, heldout_static, stores_without
from workflows.products.project import write_run_project
from workflows.products.scored_sites import (
    Colouring,
    basins_of,
    scored_static,
    scored_targets,
    write_scored_sites,
)
from workflows.products.series_scores import finite, predicted_by_all
from workflows.products.static_scores import static_predicted_by_all, static_scorecard
from workflows.products.target_scores import joined, target_scorecards, target_tables
from workflows.run import Run, source_entries
from workflows.stages.unpack import (
    cell_index,
    check_run_folds,
    heldout_stores,
    labelled_cells,
    product_layers,
    score_groups,
)

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


def outputs(run: Run) -> list[Path]:
    """The scorecard, the held-out predictions it was made from, and the sites with their scores.

    The QGIS project is written again, with the sites.
    """
    return [run.scorecard, run.heldout, run.scored_sites, run.project]


def main(run: Run) -> dict[str, Any]:
    """Write the scorecard and the scored sites; returns the best model and the number of sites."""
    check_run_folds(run)
    stores = heldout_stores(run, run.config.finetune.models)
    by_fold = [(fold, path) for fold, paths in stores.items() for path in paths.values()]
    check_heldout(FoldFiles(run.folder), by_fold)
    is_series = values_of(run.config.finetune.task) == "quantity"
    table, sites, card = (_score_series if is_series else _score_static)(run, stores)
    card = _with_scores_without(run, stores, card)
    _write_heldout(run.heldout, table)
    write_json(run.scorecard, finite(card | _metadata(run)))
    _show_sites(run, sites)
    best = card.get("ranking_of_targets", card["ranking"])[0]
    return {"best": best, "sites": card["sites"]}


def _score_series(run: Run, stores: Stores) -> tuple[xr.Dataset, GeoDataFrame, dict[str, Any]]:
    """The held-out series, the sites with their scores, and the scorecard."""
    config = run.config
    cells, targets = labelled_cells(run), config.inputs.targets
    tables = target_tables(cells, targets, stores)
    units = {name: run.variables[name].units for name in targets}
    card = target_scorecards(tables, units, config.score, config.seed)
    sites = scored_targets(
        {name: predicted_by_all(table)[0] for name, table in tables.items()}, cells
    )
    return joined(tables), sites, card


def _score_static(run: Run, stores: Stores) -> tuple[xr.Dataset, GeoDataFrame, dict[str, Any]]:
    """The held-out static targets, the sites with their scores, and the scorecard."""
    config = run.config
    parts = config.inputs.targets
    table, left_out = static_predicted_by_all(heldout_static(labelled_cells(run), parts, stores))
    card = static_scorecard(table, config.finetune.task, config.seed)
    details = {
        "parts": list(parts), "not_predicted": left_out, "excluded": read_json(run.excluded)
    }  # fmt: skip
    return table, scored_static(table, cell_index(run, config.finetune.cube)), card | details


def _with_scores_without(run: Run, stores: Stores, card: dict[str, Any]) -> dict[str, Any]:
    """The scorecard with pooled scores of all models without each group of inputs, if any."""
    groups = run.config.finetune.missing_groups
    if not groups:
        return card
    is_series = values_of(run.config.finetune.task) == "quantity"
    score = _score_series if is_series else _score_static
    found = {group: score(run, stores_without(stores, group))[2] for group in groups}

    def pooled(of_groups: Mapping[str, Any]) -> dict[str, Any]:
        return {
            group: {model: scores["pooled"] for model, scores in of_group["models"].items()}
            for group, of_group in of_groups.items()
        }

    card |= {"without": pooled(found)}
    for name, of_target in card.get("targets", {}).items():
        of_target["without"] = pooled({group: one["targets"][name] for group, one in found.items()})
    return card


def _metadata(run: Run) -> dict[str, Any]:
    """Target, folds, sites, mapped model and provenance of the run, and a given encoder."""
    config = run.config
    metadata: dict[str, Any] = {
        "target": config.inputs.target,
        "fold_kind": config.folds.kind,
        "matched_sites": match_summary(run.sites) if config.inputs.target_sites else {},
        "provenance": provenance(config.written(), source_entries(run)),
    }
    stores = [run.prediction(cube) for cube in config.predict.cubes]
    choices = [Choice.of(path) for path in stores if path.exists()]
    if choices and choices[0] is not None:
        metadata["mapped"] = {**vars(choices[0]), "sentence": f"{choices[0].sentence}."}
    checkpoint, source = run.given_encoder, config.pretrain.from_checkpoint
    if checkpoint is not None and source is not None:
        metadata["caveats"] = caveats(Path(source).name, run.encoders)
        metadata["encoder"] = {
            "folder": as_written(source), "sha256": checkpoint_digests(checkpoint)
        }  # fmt: skip
    return metadata


def _write_heldout(path: Path, table: xr.Dataset) -> None:
    with new_folder(path) as folder, warnings.catch_warnings():
        # Text arrays have no final Zarr v3 specification yet, but xarray can read them back.
        warnings.simplefilter("ignore")
        table.to_zarr(folder, mode="w", consolidated=False)


def _show_sites(run: Run, sites: GeoDataFrame) -> None:
    """Write the scored sites and any basins, and add them to the QGIS project."""
    config, polygons = run.config, None
    basins = config.publish.basins
    if basins is not None:
        source, cube = run.catalog[basins.source], run.cube(config.finetune.cube)
        polygons = basins_of(cube, source, basins.column, sites["site"].to_numpy())
    colouring = Colouring.of_task(config.finetune.task)
    write_scored_sites(run.scored_sites, sites, polygons, colouring)
    write_run_project(run.project, config.title, product_layers(run), score_groups(run))
