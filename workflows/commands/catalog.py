"""stefaland catalog list quickstart.yml

What catalogs describe, and whether the files agree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from pipeline.catalog.catalog import Catalog, read_catalog
from pipeline.core.errors import Faults
from pipeline.core.plugins import load_plugins
from pipeline.sources.open import check_source
from workflows.run import catalog_path


def _read(names: Sequence[str], data: Path, plugins: Sequence[str]) -> Catalog:
    paths = [catalog_path(name) for name in names]
    load_plugins(plugins, paths[0].parent)
    return read_catalog(paths, {"data": data})


def list_sources(names: Sequence[str], data: Path, plugins: Sequence[str] = ()) -> None:
    """Print one row a source."""
    table = Table("source", "driver", "variables", "kind", "method", "licence")
    for name, source in sorted(_read(names, data, plugins).sources.items()):
        table.add_row(
            name,
            source.driver,
            ", ".join(source.variables),
            source.kind,
            source.method,
            source.licence or "not stated",
        )
    Console().print(table)


def show_source(catalog: str, name: str, data: Path, plugins: Sequence[str] = ()) -> None:
    """Print a source's entry and what its files hold; `InputError` where they disagree."""
    source = _read([catalog], data, plugins)[name]
    console = Console(highlight=False)
    entry = source.model_dump(mode="json", exclude_defaults=True)
    console.print(yaml.safe_dump(entry, sort_keys=False), markup=False)
    faults = Faults()
    info = check_source(source, faults)
    faults.raise_if_any()
    console.print(info)


def check_sources(names: Sequence[str], data: Path, plugins: Sequence[str] = ()) -> None:
    """Compare every source with its files; all faults in one `InputError`."""
    catalog = _read(names, data, plugins)
    faults = Faults()
    for source in catalog.sources.values():
        check_source(source, faults)
    faults.raise_if_any()
    print(f"{len(catalog.sources)} sources agree with their files")
