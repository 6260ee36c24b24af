"""Listing and checking of catalogs: `stefaland catalog list quickstart.yml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from pipeline.catalog.catalog import Catalog, read_catalog
from pipeline.core.errors import Faults
from pipeline.core.packaged import catalog_path
from pipeline.core.plugins import load_plugins
from pipeline.entries.source import Source
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.open import check_source
from workflows.console import OUTPUT


def _read(names: Sequence[str], data: Path, plugins: Sequence[str]) -> Catalog:
    load_plugins(plugins, catalog_path(names[0]).parent)
    return read_catalog(names, data=data)


def listed_sources(
    names: Sequence[str], data: Path, plugins: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Driver, variables, kind, method and licence of each source of the catalogs, by name."""
    return [
        {
            "name": name,
            "driver": source.driver,
            "variables": list(source.variables),
            "kind": source.kind,
            "method": source.method,
            "licence": source.licence or None,
        }
        for name, source in sorted(_read(names, data, plugins).sources.items())
    ]


def print_sources(sources: Sequence[dict[str, Any]]) -> None:
    """Print the result of `listed_sources`, one row for each source."""
    table = Table("source", "driver", "variables", "kind", "method", "licence")
    for source in sources:
        table.add_row(
            source["name"],
            source["driver"],
            ", ".join(source["variables"]),
            source["kind"],
            source["method"],
            source["licence"] or "not stated",
        )
    OUTPUT.print(table)


def find_source(catalog: str, name: str, data: Path, plugins: Sequence[str] = ()) -> Source:
    """The entry `name` of a catalog; `InputError` with the nearest name where there is none."""
    return _read([catalog], data, plugins)[name]


def inspect_files(source: Source) -> SourceInfo | None:
    """Shape, bounds, times and size of a source's files; None for drivers whose files have no grid.

    Raises `InputError` where entry and files disagree.
    """
    faults = Faults()
    info = check_source(source, faults)
    faults.raise_if_any()
    return info


def source_document(source: Source, info: SourceInfo | None) -> dict[str, Any]:
    """A source's entry and the content of its files, as plain values.

    docs/json.md describes every key.
    """
    files = info and {
        "shape": [int(size) for size in info.shape],
        "bounds": [float(edge) for edge in info.bounds],
        "resolution": [float(step) for step in info.resolution],
        "crs": info.crs,
        "times": info.times and [str(time) for time in info.times],
        "bytes": int(info.bytes),
        "checked": float(info.checked),
        "notes": list(info.notes),
    }
    return {"name": source.name, "entry": _entry(source), "files": files}


def _entry(source: Source) -> dict[str, Any]:
    return source.model_dump(mode="json", exclude_defaults=True)


def print_entry(source: Source) -> None:
    """Print a source's entry as YAML."""
    OUTPUT.print(yaml.safe_dump(_entry(source), sort_keys=False), markup=False)


def check_sources(
    names: Sequence[str], data: Path, plugins: Sequence[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Compare every source with its files; returns the notes on each, by its name.

    Raises one `InputError` with all faults.
    """
    catalog = _read(names, data, plugins)
    faults, notes = Faults(), {}
    for name, source in catalog.sources.items():
        info = check_source(source, faults)
        notes[name] = info.notes if info else ()
    faults.raise_if_any()
    return notes
