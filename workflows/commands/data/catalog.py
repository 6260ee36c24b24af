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
from pipeline.cube.cost import show_bytes
from pipeline.entries.source import Source
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.open import check_source
from workflows.console import OUTPUT
from workflows.inputs.value_table import value_rows, value_table


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
        "values": value_rows([info]),
    }
    return {"name": source.name, "entry": _entry(source), "files": files}


def _entry(source: Source) -> dict[str, Any]:
    return source.model_dump(mode="json", exclude_defaults=True)


def print_entry(source: Source) -> None:
    """Print a source's entry as YAML."""
    OUTPUT.print(yaml.safe_dump(_entry(source), sort_keys=False), markup=False)


def print_contents(info: SourceInfo | None) -> None:
    """Print the result of `inspect_files` as tables."""
    if info is None:
        OUTPUT.plain("Its files have no grid: nothing more is known before they are read.")
        return
    rows = {
        "shape": " × ".join(map(str, info.shape)),
        "bounds": "{:g} to {:g} and {:g} to {:g}".format(*[info.bounds[i] for i in (0, 2, 1, 3)]),
        "resolution": "{:g} × {:g}".format(*info.resolution),
        "crs": info.crs,
        "times": "none" if info.times is None else f"{info.times[0]} to {info.times[1]}",
        "bytes": show_bytes(info.bytes),
        "values checked": f"{100 * info.checked:.3g} %",
    }
    table = Table("", "found", title=f"files of {info.name}")
    for name, text in rows.items():
        table.add_row(name, text)
    OUTPUT.print(table)
    OUTPUT.print(value_table(value_rows([info])))
    for note in info.notes:
        OUTPUT.plain(note)


def check_sources(
    names: Sequence[str], data: Path, plugins: Sequence[str] = ()
) -> dict[str, SourceInfo | None]:
    """Compare every source with its files; returns what each one's files hold, by its name.

    Raises one `InputError` with all faults.
    """
    catalog, faults = _read(names, data, plugins), Faults()
    infos = {name: check_source(source, faults) for name, source in catalog.sources.items()}
    faults.raise_if_any()
    return infos
