"""What a packaged product's sources hold, read from files in its provider's layout."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source


def values(product: str, source: str, data: Path) -> xr.Dataset:
    """The canonical variables of a source of a product, whose files lie below `data`."""
    entry = read_catalog(product, data=data)[source]
    return canonicalise(open_source(entry), entry, read_variables())
