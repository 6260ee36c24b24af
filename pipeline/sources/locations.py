"""Entries that give locations instead of a grid, as tables in canonical units."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from pipeline.catalog.catalog import Source, Variable
from pipeline.core.errors import Faults, InputError
from pipeline.readers.nhm import check_files, read_units_source
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source


def read_locations_source(source: Source, variables: Mapping[str, Variable]) -> xr.Dataset:
    """The locations of a `units`, `basins` or `table` entry, in canonical units, float32.

    Coordinates: `cell` (int64), `lat`, `lon`, and `group` or, of a table, `site`. Attributes say
    what was left out and why.
    Raises `InputError` with all faults of the files and values.
    """
    if source.is_table:
        return canonicalise(open_source(source), source, variables)
    return read_units_source(source, variables)


def check_locations_source(
    source: Source, variables: Mapping[str, Variable], faults: Faults
) -> None:
    """Read a `units` or `basins` entry as a run would; adds all faults of its files and values."""
    try:
        check_files(source)
        read_locations_source(source, variables)
    except InputError as error:
        faults.faults += error.faults
