"""stefaland report workflows/configs/quickstart.yml

Maps, scorecard, checks and provenance as one self-contained report.html.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

from pipeline.core.files import read_json, write_text
from pipeline.core.provenance import versions
from pipeline.core.written.references import as_written
from pipeline.cube.lazy import readable
from workflows.config.ranking import ScoreSettings
from workflows.fingerprints import NEEDS
from workflows.products.figures import image_uri, report_figures
from workflows.products.map_viewer import FILES, viewer
from workflows.products.page import render_page
from workflows.products.pretraining import pretraining_table
from workflows.products.published import read_published
from workflows.products.report_text import (
    SERIES_TEXT,
    STATIC_TEXT,
    caveats,
    comparisons,
    fold_names,
    fold_rows,
    missing_rows,
    ranking_of_targets,
    score_rows,
    summary,
    verdict,
)
from workflows.products.series_scores import predicted_by_all
from workflows.products.target_scores import divided
from workflows.run import Run
from workflows.stages.markers import StageState
from workflows.stages.unpack import product_layers


def outputs(run: Run) -> list[Path]:
    """The report page."""
    return [run.folder / "report.html"]


def _costs(folder: Path) -> list[dict[str, str]]:
    """Time and memory of each finished stage of a run folder, except this one."""
    records = {name: StageState(folder, name, "").record() for name in NEEDS if name != "report"}
    return [
        {
            "stage": name,
            "seconds": f"{record['seconds']:.1f}",
            "memory": f"{record['peak_bytes'] / 2**30:.2f}",
        }
        for name, record in records.items()
        if record
    ]


def _sources(run: Run) -> list[dict[str, str]]:
    used = [*run.config.inputs.sources]
    used += [spec.locations for spec in run.config.cubes.values() if spec.locations]
    return [
        {
            "name": source.name,
            "variables": ", ".join(source.variables),
            "licence": source.licence or "not stated",
            "reference": source.doi or source.reference or "",
        }
        for source in (run.catalog[name] for name in used)
    ]


def _scores(
    card: Mapping[str, Any], table: xr.Dataset, settings: ScoreSettings, target: str
) -> dict[str, Any]:
    """The tables and figures of a target's scores; `target` is empty for the only one."""
    names, rows = score_rows(card)
    differences = list(card["stefaland_minus"].values())
    return {
        "target": target.replace("_", " "),
        "score_names": names,
        "scores": rows,
        "verdict": verdict(card),
        "comparisons": comparisons(card),
        "comparison_metric": differences[0]["metric"] if differences else "",
        "fold_metric": f"pooled {card['rank_by']['metric']}",
        "folds": fold_names(card),
        "fold_rows": fold_rows(card),
        "missing": ["all inputs", *(f"without {name}" for name in card.get("without", {}))],
        "missing_rows": missing_rows(card),
        "figures": report_figures(table, card, settings),
    }


def main(run: Run) -> dict[str, Any]:
    """Write report.html; returns its path."""
    config = run.config
    card = read_json(run.scorecard, "sites", "ranking", "stefaland_minus", "rank_by")
    is_series = "parts" not in card
    with readable(str(run.heldout)):
        table = xr.open_zarr(run.heldout, consolidated=False).load()
    tables = divided(table, config.inputs.targets) if is_series else {"": table}
    cards = card.get("targets") or dict.fromkeys(tables, card)
    scored = [
        _scores(cards[name], predicted_by_all(one)[0] if is_series else one, config.score,
                name if len(tables) > 1 else "")
        for name, one in tables.items()
    ]  # fmt: skip
    published = read_published(run.published).model_dump(mode="json")
    layers_by_product = product_layers(run)
    pretraining = pretraining_table(run.encoders)
    page = render_page(
        "report.html.j2",
        "report.css",
        of_parts=FILES if layers_by_product else (),
        title=config.title,
        name=config.name,
        version=metadata.version("stefaland"),
        summary=summary(card),
        maps=[{**item, "image": image_uri(run.maps / item["image"])} for item in published["maps"]],
        viewer=viewer(layers_by_product, run.outlines) if layers_by_product else "",
        places=published["places"],
        score_text=SERIES_TEXT if is_series else STATIC_TEXT,
        scored=scored,
        ranking=ranking_of_targets(card),
        pretraining=pretraining,
        caveats=[
            *caveats(card, config.folds, bool(layers_by_product)),
            *pretraining.caveats,
            *config.caveats,
        ],
        costs=_costs(run.folder),
        sources=_sources(run),
        config=yaml.safe_dump(as_written(config.written()), sort_keys=False),
        versions=json.dumps(versions(), indent=2),
    )
    path = run.folder / "report.html"
    write_text(path, page)
    return {"page": as_written(str(path))}
