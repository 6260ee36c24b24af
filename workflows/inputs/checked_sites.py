"""Sites of a target compared with the grid and the times of a run, before anything is regridded."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.grid.target_grid import TargetGrid
from pipeline.sites.match import match_sites, unmatched, unmatched_faults
from pipeline.sources.check_metadata import SourceInfo
from workflows.config.schema import Inputs

MONTH = np.timedelta64(31, "D")


def check_sites(
    sites: xr.Dataset, grid: TargetGrid, inputs: Inputs, infos: Iterable[SourceInfo], where: str
) -> str:
    """Return a text on how many `sites`, those of `inputs.target_sites`, lie in cells of the grid.

    `infos` are of the run's sources, whose times are compared with those of the sites. Raises
    `InputError` with the ids of sites outside the grid, unless `inputs.exclude_unmatched` leaves
    them out, and where no site or no time is left. Cells without land are known after `regrid`.
    """
    if "time" in sites.dims:
        spans = [info.times for info in infos if info.times and info.name != inputs.target_sites]
        _check_times(sites["time"].values, spans, where)
    table = match_sites(sites, grid, inputs.targets[0])
    without = unmatched(table, np.ones(grid.shape, bool))
    outside = np.logical_or.reduce(list(without.values()))
    if outside.all():
        west, east = table["lon"].min(), table["lon"].max()
        south, north = table["lat"].min(), table["lat"].max()
        raise bad_input(
            where, f"sites from {west:g} to {east:g} degrees east and from {south:g} to {north:g} "
            "degrees north, none of them on the grid", "sites on the grid",
            "Check the columns of longitude and latitude, `crs` of the entry, and the grid.",
        )  # fmt: skip
    if not inputs.exclude_unmatched:
        unmatched_faults(table, without, where).raise_if_any()
    inside = table[~outside]
    text = f"{len(inside)} of {len(table)} sites in {inside['cell'].nunique()} cells"
    return text + (f", {int(outside.sum())} outside the grid are left out" if outside.any() else "")


def _check_times(
    times: np.ndarray, spans: list[tuple[np.datetime64, np.datetime64]], where: str
) -> None:
    """Raise `InputError` where sites have no time within those of all sources together."""
    if not (spans and times.size):
        return
    # The first and last stamps of files may lie up to a month before or after the times they mean.
    first = max(begin for begin, _ in spans) - MONTH
    last = min(end for _, end in spans) + MONTH
    if not ((times >= first) & (times <= last)).any():
        show = [str(time)[:10] for time in (times.min(), times.max(), first, last)]
        raise bad_input(
            where, f"times from {show[0]} to {show[1]}",
            f"some from {show[2]} to {show[3]}, which the forcings have",
            "Choose sources or a period that meet, or check the column of times.",
        )  # fmt: skip
