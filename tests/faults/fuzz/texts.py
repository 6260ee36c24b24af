"""Texts of settings of every kind, damaged as YAML and as bytes, and their readers.

What is read of a damaged text is right if it is what its own dump is read as, and if its numbers
are finite; codes of missing values alone may be NaN, and limits infinite.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import InputError
from pipeline.core.settings import read_entries, validated
from pipeline.grid.named_grids import read_grids
from pipeline.maps.legend import read_legend
from tests.faults.fuzz.mutate import damaged_bytes, damaged_value
from tests.faults.fuzz.oracle import FindingError, outcome
from workflows.config.folds import FoldSettings
from workflows.config.load import load_config

ROOTS = dict.fromkeys(("data", "runs", "here", "cache"), "/nowhere")
OWN_ENTRIES = """
variables:
  wetness: {units: "1", valid_range: [0, 1]}
rain:
  uri: ["/nowhere/{year}/rain_{month:02d}.nc", "s3://bucket/a*.nc"]
  driver: netcdf
  method: mean
  select: {depth: 0, level: {value: 0.05}}
  reduce: {number: mean, depth: {to: [0, 1], by: bounds}}
  time: {stamp: start, step: monthly, start: 2001-01-01, resets: 0}
  dims: {time: date, y: lat, x: lon}
  crs: EPSG:4326
  years: [2001, 2003]
  variables:
    precipitation:
      {name: Grid/p, units: mm/day, nodata: [-9999, .nan, [240, 250]], clip: 1.0e-6,
       mask: {name: flag, keep: [0]}, cell_method: sum}
    wetness: {name: wet, expression: "a * b / 86400", scale: 0.1, offset: 2}
west: {uri: /nowhere/w.tif, driver: raster, static: true, variables: {elevation: {name: band_1}}}
east: {uri: /nowhere/e.tif, driver: raster, static: true, variables: {elevation: {name: band_1}}}
both: {merge: [west, east]}
gauges:
  uri: /nowhere/a.csv
  driver: table
  lat: lat
  lon: lon
  cell: site
  dims: {time: date}
  options: {date_format: "%Y-%m-%d", separator: ";"}
  variables: {streamflow: {name: q, units: m3/s}}
"""


LIMITS = {"valid_range", "plausible_mean", "to", "by", "clip_norm", "max_distance_km", "reach_km",
          "minimum", "maximum"}  # fmt: skip
"""Settings that may be infinite."""


def read_splits(path: Path) -> dict[str, FoldSettings]:
    """The settings of the named folds in a file."""
    entries = read_entries(path, "folds")
    return {name: validated(FoldSettings, entry, name) for name, entry in entries.items()}


@dataclass(frozen=True)
class Kind:
    """A kind of text: its packaged files and further texts, and its reader."""

    files: tuple[str, ...]
    read: Callable[[Path], Any]
    more: tuple[str, ...] = ()


KINDS = {
    "config": Kind(("workflows/configs/*.yml",), load_config),
    "catalog": Kind(
        ("catalogs/sources/*.yml", "catalogs/quickstart.yml", "catalogs/examples.yml"),
        lambda path: read_catalog(path, ROOTS), (OWN_ENTRIES,) * 30,
    ),
    "legend": Kind(("catalogs/legends/*.yml",), read_legend),
    "grids": Kind(("catalogs/grids.yml",), read_grids),
    "variables": Kind(("catalogs/variables.yml",), read_variables),
    "splits": Kind(("catalogs/splits.yml",), read_splits),
}  # fmt: skip


@cache
def seeds_of(kind: str) -> tuple[bytes, ...]:
    """The whole texts of a kind."""
    root = Path(str(resources.files("catalogs"))).parent
    files = [file for pattern in KINDS[kind].files for file in sorted(root.glob(pattern))]
    return (*(file.read_bytes() for file in files), *(t.encode() for t in KINDS[kind].more))


class _Plain(yaml.SafeDumper):
    """Writes repeated values in full, since aliases are refused."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@cache
def _parsed(content: bytes) -> Any:
    return yaml.safe_load(content)


def _small(value: Any, rng: random.Random) -> Any:
    """Up to five of the entries of a mapping, so that each damage counts and reading is fast."""
    if not isinstance(value, dict) or len(value) <= 6 or rng.random() < 0.1:
        return value
    return {key: value[key] for key in rng.sample(list(value), 5)}


def damaged_text(kind: str, rng: random.Random) -> bytes:
    """A text of a kind with a few values or bytes changed."""
    content = rng.choice(seeds_of(kind))
    if rng.random() < 0.25:
        return damaged_bytes(content, rng)
    value = _parsed(content)
    value = _small(value, rng) if kind in ("catalog", "grids", "variables") else value
    text = yaml.dump(damaged_value(value, rng), Dumper=_Plain, allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


def check_text(kind: str, content: bytes, path: Path) -> Any:
    """Read a text; raises `FindingError` unless it is refused clearly or read right."""
    path.write_bytes(content)
    found = outcome(lambda: KINDS[kind].read(path))
    if not isinstance(found, InputError):
        for model in _models(found):
            _require_finite(model)
            outcome(lambda model=model: _require_same(model))
    return found


def _models(found: Any) -> list[BaseModel]:
    values = getattr(found, "sources", found)
    values = values.values() if isinstance(values, dict) else [values]
    return [value for value in values if isinstance(value, BaseModel)]


def _require_same(model: BaseModel) -> None:
    dumped = model.model_dump()
    if repr(type(model).model_validate(dumped).model_dump()) != repr(dumped):
        raise FindingError("settings that their dump does not restore")


def _require_finite(model: BaseModel) -> None:
    for keys, number in _numbers(model.model_dump(), ()):
        if "nodata" in keys or (math.isinf(number) and LIMITS & {*keys}):
            continue
        if not math.isfinite(number):
            raise FindingError(f"{type(model).__name__} with {'.'.join(map(str, keys))} = {number}")


def _numbers(value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], float]]:
    if isinstance(value, float):
        yield keys, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(item, (*keys, key))
