"""The sites of packaged sources in canonical units, from files in their provider's layout."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import Faults
from pipeline.sources.locations import read_locations_source
from pipeline.sources.open import check_source


def sites(product: str, data: Path, source: str | None = None) -> xr.Dataset:
    """The sites of a source, by default that of the product's name, which a check accepts too."""
    entry, faults = read_catalog(product, data=data)[source or product], Faults()
    check_source(entry, faults, read_variables())
    assert not faults.faults, [str(fault) for fault in faults.faults]
    return read_locations_source(entry, read_variables())


def text(path: Path, lines: str, encoding: str = "utf-8") -> None:
    """Write a text file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines.encode(encoding))
