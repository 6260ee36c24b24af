"""stefaland score workflows/configs/quickstart.yml

Held-out predictions of every model → scorecard.json: per site, pooled, by fold and region.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import provenance
from stefaland.tasks import values_of
from workflows.fingerprints import checkpoint_digests
from workflows.inputs.checked_folds import check_heldout
from workflows.inputs.folds import FoldFiles
from workflows.inputs.given_encoder import caveats
from workflows.inputs.site_targets import match_summary
from workflows.products.heldout import Stores, heldout_places, heldout_series
from workflows.products.place_scores import place_scorecard, predicted_places
from workflows.products.project import write_run_project
from workflows.products.scored_sites import (
    Colouring,
    basins_of,
    scored_places,
    scored_series,
    write_scored_sites,
)
from workflows.products.series_scores import finite, predicted_by_all, series_scorecard
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
    """The scorecard, the held-out series it was made from, and the sites with their scores."""
    return [run.scorecard, run.heldout, run.scored_sites]


def main(run: Run) -> dict[str, Any]:
    """Write the scorecard; gives the ranking."""
    check_run_folds(run)
    stores = heldout_stores(run, run.config.finetune.models)
    of_fold = [(fold, path) for fold, paths in stores.items() for path in paths.values()]
    check_heldout(FoldFiles(run.folder), of_fold)
    is_series = values_of(run.config.finetune.task) == "quantity"
    table, sites, card = (_score_series if is_series else _score_places)(run, stores)
    _write_heldout(run.heldout, table)
    write_json(run.scorecard, finite(card | _about(run)))
    _show_sites(run, sites)
    return {"best": card["ranking"][0], "sites": card["sites"]}


def _score_series(run: Run, stores: Stores) -> tuple[xr.Dataset, GeoDataFrame, dict[str, Any]]:
    """The held-out series, the sites with their scores, and the scorecard."""
    config = run.config
    target = labelled_cells(run)
    table = heldout_series(target[config.inputs.target], stores)
    common, left_out = predicted_by_all(table)
    card = series_scorecard(common, config.score, config.seed)
    units = run.variables[config.inputs.target].units
    return table, scored_series(common, target), card | {"not_predicted": left_out, "units": units}


def _score_places(run: Run, stores: Stores) -> tuple[xr.Dataset, GeoDataFrame, dict[str, Any]]:
    """As `_score_series`, of targets that are one value a place."""
    config = run.config
    parts = config.inputs.targets
    table, left_out = predicted_places(heldout_places(labelled_cells(run), parts, stores))
    card = place_scorecard(table, config.finetune.task, config.seed)
    about = {
        "parts": list(parts), "not_predicted": left_out, "excluded": read_json(run.excluded)
    }  # fmt: skip
    return table, scored_places(table, cell_index(run, config.finetune.cube)), card | about


def _about(run: Run) -> dict[str, Any]:
    """What a scorecard says of the run: target, folds, sites, provenance, and the encoder where the
    run did not pretrain it.
    """
    config = run.config
    about: dict[str, Any] = {
        "target": config.inputs.target,
        "fold_kind": config.folds.kind,
        "matched_sites": match_summary(run.sites) if config.inputs.target_sites else {},
        "provenance": provenance(config.model_dump(mode="json"), source_entries(run)),
    }
    given = config.pretrain.from_checkpoint
    if given is not None:
        about["caveats"] = caveats(given, run.encoders)
        about["encoder"] = {"folder": str(given), "sha256": checkpoint_digests(given)}
    return about


def _write_heldout(path: Path, table: xr.Dataset) -> None:
    with warnings.catch_warnings():
        # Text has no final Zarr v3 specification yet; xarray reads back what it wrote.
        warnings.simplefilter("ignore")
        table.to_zarr(path, mode="w", consolidated=False)


def _show_sites(run: Run, sites: GeoDataFrame) -> None:
    """Write the scored sites, and their basins where there are any, and show them in QGIS."""
    config, polygons = run.config, None
    basins = config.publish.basins
    if basins is not None:
        source, cube = run.catalog[basins.source], run.cube(config.finetune.cube)
        polygons = basins_of(cube, source, basins.column, sites["site"].to_numpy())
    colouring = Colouring.of_task(config.finetune.task)
    write_scored_sites(run.scored_sites, sites, polygons, colouring)
    write_run_project(run.project, config.title, product_layers(run), score_groups(run))
