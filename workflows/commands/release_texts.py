"""Texts of a released encoder: model card, data statement, and the table of its sites."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from stefaland.checkpoints.card import cells_table, skill_table, table, variable_table
from stefaland.config import ModelConfig
from workflows.inputs.pretraining_cells import DECIMALS, KEY, PretrainingCells

TAGS = ["hydrology", "land-surface", "soil-moisture", "streamflow", "time-series",
        "masked-autoencoder", "safetensors"]  # fmt: skip
DOI = re.compile(r"\b(10\.\d{4,9}/[^\s;,]+)")


@dataclass(frozen=True, kw_only=True)
class Release:
    """A pretrained encoder and what its texts are made of."""

    name: str
    licence: str
    """Licence of the weights, as an SPDX identifier in lower case."""
    title: str
    settings: ModelConfig
    data: Mapping[str, Any]
    """Content of its `data.json`."""
    seen: Sequence[PretrainingCells]
    sources: Mapping[str, Mapping[str, Any]]
    """Catalog entries of the data that pretrained it, by name."""
    caveats: Sequence[str]
    parameters: int
    version: str
    """Version of the package."""

    @property
    def verdict(self) -> str:
        """What the comparison with simple references says against it; empty if nothing."""
        return str(self.data.get("training", {}).get("verdict") or "")

    @property
    def datasets(self) -> list[dict[str, str]]:
        """Name, title, licence and DOI or reference of each source."""
        return [_dataset(name, entry) for name, entry in self.sources.items()]


def _dataset(name: str, entry: Mapping[str, Any]) -> dict[str, str]:
    reference = str(entry.get("reference") or "")
    dois = [entry["doi"]] if entry.get("doi") else DOI.findall(reference)
    found = {"name": name, "title": str(entry.get("title") or name),
             "licence": str(entry.get("licence") or "not stated")}  # fmt: skip
    if dois:
        found["doi"] = ", ".join(dois)
    if reference:
        found["reference"] = reference
    return found


def readme(made: Release) -> str:
    """The model card in the form of Hugging Face: metadata in YAML, then Markdown."""
    datasets = [{k: v for k, v in one.items() if k != "title"} for one in made.datasets]
    metadata = {
        "license": made.licence, "library_name": "stefaland", "tags": TAGS,
        "pipeline_tag": "feature-extraction", "source_datasets": datasets,
    }  # fmt: skip
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=100)
    total = sum(cells.count for cells in made.seen)
    training = made.data.get("training", {})
    known = made.settings
    blocks = [
        f"---\n{front}---",
        f"# {made.name}",
        f"{made.title}. A StefaLand encoder, a masked autoencoder of {len(known.forcings)} "
        f"forcings and {len(known.statics)} static attributes with {made.parameters:,} parameters, "
        f"pretrained on {total:,} locations by stefaland {made.version}.",
        "## Intended use",
        "A start for finetuning on series of land locations: soil moisture, streamflow and the "
        "like, daily or monthly, also where some of its inputs are absent: these are hidden, as "
        "in pretraining. It predicts nothing by itself. Outside the ground, the years and the "
        "products that pretrained it, compare it with the same network on random weights (baseline "
        "`random_encoder`) before relying on it; decisions about safety or water rights need an "
        "evaluation of their own.",
        "## How to load",
        f'```python\nimport stefaland\n\nencoder = stefaland.load("{made.name}")  # or a folder, '
        "https://…, hf://OWNER/NAME\nvectors = encoder.embed(cells, window=365)\n```",
        "In a config: `pretrain: {from_checkpoint: FOLDER}`. Its own statistics (`data.json`) "
        "normalise the inputs. Weights are safetensors; nothing in this folder is code. "
        "`manifest.json` has the SHA-256 sum of each file.",
        "## Skill",
        _skill(training, made.verdict),
        "## Leakage warning",
        cells_table([one.model_dump(mode="json") for one in made.seen]),
        "A test at these locations, or near them, is no test of a new location: the encoder has "
        f"seen their forcings and attributes. {_targets(known)} `sites.csv` lists all of them, and "
        f"`data.json` the same as `{KEY}`: `stefaland` refuses folds that hold them out "
        "(`pretrain.seen_cells`).",
        "## Inputs",
        variable_table(known.model_dump(mode="json"), made.data),
        "## Data",
        "`DATA_STATEMENT.md` describes them.",
        _data_table(made),
        "## Licence",
        f"The weights: {made.licence}. The data keep their own licences (table above): cite their "
        "references.",
    ]
    return "\n\n".join(blocks) + "\n"


def _skill(training: Mapping[str, Any], verdict: str) -> str:
    parts = [
        f"{training.get('best_epoch', '?')} of {training.get('epochs', '?')} epochs were best on "
        "validation cells."
    ]
    if skills := training.get("skills"):
        parts += ["On their hidden values, 1 - SSE / SSE of the training mean, beside simple "
                  "references that a useful encoder must beat:", skill_table(skills)]  # fmt: skip
    if verdict:
        parts.append(f"**This encoder is {verdict}.**")
    return "\n\n".join(parts)


def _targets(known: ModelConfig) -> str:
    if known.pretext:
        return f"It was also trained to predict {', '.join(known.pretext)}."
    return "It has seen no targets."


def _data_table(made: Release) -> str:
    rows = [
        [one["name"], one["title"], one["licence"], one.get("doi", ""), one.get("reference", "")]
        for one in made.datasets
    ]
    return table(["source", "title", "licence", "DOI", "reference"], rows)


def data_statement(made: Release) -> str:
    """What the encoder was pretrained on: sources, locations, days, treatment and limits."""
    rows = []
    for cells in made.seen:
        at = cells.table()
        lon, lat = at["lon"].values, at["lat"].values
        box = f"{lon.min():.1f} to {lon.max():.1f}, {lat.min():.1f} to {lat.max():.1f}"
        rows.append([cells.cube, f"{cells.count:,}", box, " to ".join(cells.period)])
    lacking = ", ".join(made.data.get("lacking", ())) or "none"
    fold = made.data.get("training", {}).get("fold", "")
    blocks = [
        f"# Data of {made.name}",
        "## Locations and days",
        table(["cube", "locations", "degrees east, degrees north", "days"], rows),
        f"They are those that train and validate in fold {fold}; what the fold holds out, and what "
        "is near it, took no part. Coordinates of all are in `sites.csv`.",
        "## Sources",
        _data_table(made),
        "## Treatment",
        "Sources are converted to canonical names and units (`units` in `data.json`) and "
        "normalised by the mean and standard deviation of the training cells (`normaliser`). "
        "Missing values stay missing. Variables that at least one cube lacks, and that are hidden "
        f"there: {lacking}.",
        "## Limits",
        *(f"- {caveat}" for caveat in made.caveats),
        "- Locations are not a sample of the world's land: regions with many of them weigh more.",
    ]
    return "\n\n".join(blocks) + "\n"


def site_table(seen: Sequence[PretrainingCells]) -> str:
    """All locations that pretrained, as CSV: cube, id, longitude and latitude in degrees."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cube", "id", "lon", "lat"])
    for cells in seen:
        at = cells.table()
        columns = (at["cell"].values, at["lon"].values, at["lat"].values)
        for cell, lon, lat in zip(*columns, strict=True):
            writer.writerow([cells.cube, int(cell), round(lon, DECIMALS), round(lat, DECIMALS)])
    return text.getvalue()
