"""stefaland report workflows/configs/quickstart.yml

Maps, scorecard, checks and provenance → one self-contained report.html; no network needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml
from jinja2 import Environment, StrictUndefined

from pipeline.core.files import read_json
from pipeline.core.provenance import versions
from stefaland.metrics import accumulate, finish, is_error
from workflows.config.folds import FoldSettings
from workflows.products import figures as plots
from workflows.products.extra_scores import site_scores
from workflows.products.map_viewer import template, viewer
from workflows.run import Run
from workflows.stages.score import models, predicted_by_all

POOLED = ("NSE", "RMSE", "ubRMSE", "bias", "correlation")
PER_SITE = ("NSE", "KGE", "RMSE", "ubRMSE", "correlation")
BOX_LIMITS = {"NSE": (-1.0, 1.0), "KGE": (-1.0, 1.0), "correlation": (-1.0, 1.0)}
SERIES_TEXT = (
    "Only locations that were held out; higher NSE, KGE and correlation and lower RMSE, ubRMSE and "
    "bias are better."
)
PLACE_TEXT = (
    "Only locations that were held out; lower RMSE and Brier score and higher R2, accuracy, F1 and "
    "AUC are better."
)
MAPS_CAVEAT = (
    "The maps show the mean of the models of all folds; each was trained without what its fold "
    "holds out. The spread map combines their own uncertainty and their disagreement."
)
PERSISTENCE_CAVEAT = (
    "Persistence reads each site's observations in the test period up to the day before; no other "
    "model does."
)


def outputs(run: Run) -> list[Path]:
    """The page."""
    return [run.folder / "report.html"]


def _number(value: float | None) -> str:
    return "—" if value is None or not np.isfinite(value) else f"{value:.3f}"


def _score_rows(card: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    names = [f"pooled {name}" for name in POOLED] + [f"median {name}" for name in PER_SITE]
    if "parts" in card:
        names = list(next(iter(card["models"].values()))["pooled"])
    rows = []
    for model in card["ranking"]:
        scores = card["models"][model]
        if "parts" in card:
            values = [_number(scores["pooled"][name]) for name in names]
        else:
            values = [_number(scores["pooled"][name]) for name in POOLED]
            values += [_number(scores["sites"][name]["median"]) for name in PER_SITE]
        rows.append({"model": model, "values": values, "best": model == card["ranking"][0]})
    return names, rows


def verdict(card: Mapping[str, Any]) -> str:
    """Who wins on held-out sites, in one sentence, whoever it is."""
    metric, over = card["rank_by"]["metric"], card["rank_by"]["over"]
    words = f"{'median' if over == 'sites' else 'pooled'} {metric}"

    def value(model: str) -> float:
        scores = card["models"][model][over][metric]
        return scores["median"] if over == "sites" else scores

    first, second = card["ranking"][:2]
    text = f"Best on held-out data by {words}: {first} ({_number(value(first))}), "
    text += f"then {second} ({_number(value(second))})."
    if first != "stefaland":
        place = card["ranking"].index("stefaland") + 1
        text += f" StefaLand comes {place} of {len(card['ranking'])} "
        text += f"({_number(value('stefaland'))}): it does not win here."
    return text


def _comparisons(card: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    for model, of in card["stefaland_minus"].items():
        sign = -1.0 if is_error(of["metric"]) else 1.0
        ends = sorted((sign * of["low"], sign * of["high"]))
        rows.append(
            {
                "model": model,
                "difference": _number(sign * of["difference"]),
                "interval": f"{_number(ends[0])} to {_number(ends[1])}",
                "share": f"{100 * of['share']:.0f} %",
            }
        )
    return rows


def _place_figures(table: xr.Dataset, card: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of targets that are one value a place: each part, predicted against observed."""
    return [
        {
            "image": plots.scatter(
                table["observed"].sel(part=part).values,
                table["predicted"].sel(model=model, part=part).values, f"{model}: {part}", "1",
            ),
            "caption": f"{model}: {part} of every held-out site",
        }
        for model in dict.fromkeys(["stefaland", card["ranking"][0]])
        for part in card["parts"]
    ]  # fmt: skip


def _figures(run: Run, table: xr.Dataset, card: Mapping[str, Any]) -> list[dict[str, str]]:
    if "parts" in card:
        return _place_figures(table, card)
    observed = table["observed"].values
    figures = []
    for model in dict.fromkeys(["stefaland", card["ranking"][0]]):
        image = plots.scatter(
            observed, table["predicted"].sel(model=model).values, model, card["units"]
        )
        figures.append({"image": image, "caption": f"{model}: every held-out site and time"})
    metric = run.config.score.metric if run.config.score.over == "sites" else "correlation"
    by_site = {model: site_scores(table, model, metric) for model in models(run)}
    limits = BOX_LIMITS.get(metric, (0.0, float(np.nanmax(list(by_site.values())))))
    figures.append(
        {"image": plots.boxes(by_site, metric, limits), "caption": f"{metric} of each site"}
    )
    figures.append({"image": _series(run, table, card), "caption": "Series at held-out sites"})
    return figures


def _series(run: Run, table: xr.Dataset, card: Mapping[str, Any]) -> str:
    """The sites at evenly spaced ranks of StefaLand's error: good, middling and bad ones alike."""
    own = accumulate(table["observed"].values, table["predicted"].sel(model="stefaland").values)
    error = finish(own)["RMSE"]
    order = np.flatnonzero(np.isfinite(error))[np.argsort(error[np.isfinite(error)])]
    count = min(run.config.score.examples, len(order))
    chosen = order[np.linspace(0, len(order) - 1, count + 2).round().astype(int)[1:-1]]
    labels = {
        int(i): f"site {table['site'].values[i]}, {table['region'].values[i]}" for i in chosen
    }
    shown = list(dict.fromkeys(["stefaland", card["ranking"][0], "climatology"]))
    shown = [model for model in shown if model in models(run)]
    return plots.series(
        table["time"].values,
        {label: table["observed"].values[i] for i, label in labels.items()},
        {
            model: {
                label: table["predicted"].sel(model=model).values[i] for i, label in labels.items()
            }
            for model in shown
        },
        card["units"],
    )


def _caveats(run: Run, card: Mapping[str, Any]) -> list[str]:
    return [
        held_out_sentence(run.config.folds),
        "Cells that share one source cell of the target are averaged before scoring, so each of "
        f"the {card['sites']} sites counts once.",
        *excluded_sentence(card),
        *unpredicted_sentence(card),
        *([MAPS_CAVEAT] if run.config.publish.products else []),
        *([PERSISTENCE_CAVEAT] if "persistence" in run.config.finetune.baselines else []),
        *card.get("caveats", []),
        *run.config.caveats,
    ]


def excluded_sentence(card: Mapping[str, Any]) -> list[str]:
    """Which sites were left out for their target, if any were."""
    excluded = card.get("excluded", {"sites": []})
    if not excluded["sites"]:
        return []
    shown = ", ".join(str(site) for site in excluded["sites"][:20])
    more = ", …" if len(excluded["sites"]) > 20 else ""
    return [f"{len(excluded['sites'])} sites were left out because their target is not "
            f"{excluded['expected']}: {shown}{more}."]  # fmt: skip


def unpredicted_sentence(card: Mapping[str, Any]) -> list[str]:
    """How many observations no score is of, because some model has no prediction there."""
    count = card.get("not_predicted", 0)
    kind = "sites" if "parts" in card else "observed values"
    return [f"{count} {kind} are left out of all scores, because not every model has a prediction "
            "there."] * (count > 0)  # fmt: skip


def held_out_sentence(folds: FoldSettings) -> str:
    """What the scores are of, and what no model saw."""
    days = ""
    if folds.test_period:
        days = f"days from {folds.test_period[0]} to {folds.test_period[1]}"
    if folds.kind == "time":
        return (
            f"Scores are of {days}, which no model was trained on, at locations that all models "
            "know from other days; statistics for normalising come from the training period alone, "
            "and pretraining saw no day of the test."
        )
    kind = {
        "regions": "whole regions were held out (PUR)",
        "groups": "random groups of locations were held out (PUB)",
        "blocks": "blocks of degrees were held out",
    }[folds.kind]
    return (
        f"Scores are of locations{f' and {days}' if days else ''} no model was trained on: {kind}; "
        "statistics for normalising come from each fold's training cells alone, and pretraining "
        "saw no held-out cell."
    )


def _costs(run: Run, names: Sequence[str]) -> list[dict[str, str]]:
    rows = []
    for name in names:
        marker = run.folder / ".stages" / f"{name}.finished.json"
        if marker.exists():
            record = read_json(marker)
            rows.append(
                {
                    "stage": name,
                    "seconds": f"{record['seconds']:.1f}",
                    "memory": f"{record['peak_bytes'] / 2**30:.2f}",
                }
            )
    return rows


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


def main(run: Run) -> dict[str, Any]:
    """Write report.html."""
    card = read_json(run.folder / "scorecard.json")
    table = xr.open_zarr(run.folder / "heldout.zarr", consolidated=False).load()
    if "parts" not in card:
        table, _ = predicted_by_all(table)
    published = read_json(run.maps / "published.json")
    names, rows = _score_rows(card)
    folds = sorted(next(iter(card["models"].values()))["folds"])
    fold_metric = card["rank_by"]["metric"]
    page = (
        Environment(autoescape=True, undefined=StrictUndefined)
        .from_string(template("report.html.j2"))
        .render(
            title=run.config.title,
            name=run.config.name,
            version=metadata.version("stefaland"),
            summary=f"{card['sites']} held-out sites, {len(card['ranking'])} models",
            maps=[
                {**item, "image": plots.image_uri(run.maps / item["image"])}
                for item in published["maps"]
            ],
            viewer=viewer(run) if run.config.publish.products else "",
            places=published["places"],
            score_text=PLACE_TEXT if "parts" in card else SERIES_TEXT,
            score_names=names,
            scores=rows,
            verdict=verdict(card),
            comparisons=_comparisons(card),
            comparison_metric=next(iter(card["stefaland_minus"].values()))["metric"]
            if card["stefaland_minus"]
            else "",
            fold_metric=f"pooled {fold_metric}",
            folds=folds,
            fold_rows=[
                {
                    "model": model,
                    "values": [
                        _number(card["models"][model]["folds"][fold][fold_metric]) for fold in folds
                    ],
                }
                for model in card["ranking"]
            ],
            figures=_figures(run, table, card),
            caveats=_caveats(run, card),
            costs=_costs(
                run,
                [
                    "regrid",
                    "stats",
                    "pretrain",
                    "finetune",
                    "predict",
                    "mosaic",
                    "publish",
                    "score",
                ],
            ),
            sources=_sources(run),
            config=yaml.safe_dump(run.config.model_dump(mode="json"), sort_keys=False),
            versions=json.dumps(versions(), indent=2),
        )
    )
    path = run.folder / "report.html"
    temporary = path.with_name(".report.html.partial")
    temporary.write_text(page)
    os.replace(temporary, path)
    return {"page": str(path)}
