"""Entries of sites or networks as tables of locations in canonical units."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from pipeline.core.errors import Faults, bad_input
from pipeline.entries.source import Source, Variable
from pipeline.readers.registry import driver_of, read_files
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_files, open_source


def read_locations_source(source: Source, variables: Mapping[str, Variable]) -> xr.Dataset:
    """Return the locations of an entry of sites or of a network, in canonical units, float32.

    Coordinates: `cell` (int64), `lat`, `lon`, and `group` (networks) or `site` (sites). The
    attributes `left_out_*` report locations that were left out.
    Raises `InputError` with all faults of the files and values.
    """
    driver = driver_of(source)
    if driver.returns == "network":
        ds: xr.Dataset = read_files(source, variables)
        return ds
    if driver.returns != "sites":
        raise bad_input(
            f'source "{source.name}": driver', f"{driver.name}, a reader of {driver.returns}",
            "a reader of sites or of a network, such as table",
        )  # fmt: skip
    return canonicalise(open_source(source), source, variables)


def check_locations_source(
    source: Source, variables: Mapping[str, Variable], faults: Faults
) -> None:
    """Read the entry of a network as a run would; adds all faults of its files and values."""
    if not check_files(source, faults):
        return
    with faults.collecting():
        read_locations_source(source, variables)
