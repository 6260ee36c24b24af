"""CAMELS-US: forcings, streamflow and attributes of 671 basins (driver `camels_us`).

The `uri` of an entry is the folder with `basin_mean_forcing`, `usgs_streamflow` and the
`camels_*.txt`, or with the unpacked archive of the former two. Layout of the files: Newman et al.
2015, doi 10.5194/hess-19-209-2015; Addor et al. 2017, doi 10.5194/hess-21-5293-2017.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.core.errors import LIBRARY_ERRORS, Faults, bad_input, listed
from pipeline.core.settings import Frozen
from pipeline.core.units import CUBIC_FOOT_M3, SECONDS_A_DAY
from pipeline.entries.source import Source
from pipeline.readers.common.first_bytes import ROWS
from pipeline.readers.common.refusals import check_format, unreadable
from pipeline.readers.common.site_table import (
    by_time,
    check_columns,
    chosen_sites,
    numeric,
    read_attributes,
    read_options,
    site_table,
)
from pipeline.readers.driver import Driver

FLOW = "streamflow"
"""Name of the variable computed from the discharge files: depth over the basin, mm/day."""
HEADER_UNITS = {"C": "degC", "W/m2": "W m-2"}
"""Units in the headers of forcing files whose CF spelling is different."""
FORCING = re.compile(r"(\d{8})_lump_\w+_forcing_leap\.txt")
DISCHARGE = re.compile(r"(\d{8})_streamflow_qc\.txt")
FORCING_ROWS = "three lines, a header and a row per day"
FLOW_ROWS = "rows of gauge, year, month, day, ft3 s-1 and flag"


class CamelsOptions(Frozen):
    """Options of an entry: basins, forcings, and the area that turns discharge into depth."""

    forcings: Literal["daymet", "maurer", "maurer_extended", "nldas", "nldas_extended"] = "daymet"
    sites: tuple[str, ...] | str = ()
    """Gauge ids of eight digits, or a text file with one id per line; by default all."""
    area: Literal["area_gages2", "area_geospa_fabric"] = "area_gages2"
    """Column of camels_topo.txt with the basin's area, km2."""
    flags: tuple[str, ...] = ("A", "A:e")
    """Quality flags of discharge that is used: approved, and approved estimates; M is missing."""


def open_camels(source: Source) -> xr.Dataset:
    """Return basins as (time, cell) series and (cell,) attributes under CAMELS names, as stored.

    Names of forcings are those of the files in lower case without units (prcp, tmax); `streamflow`
    is discharge over the basin's area in mm/day. Raises `InputError` with all of: missing files,
    duplicate gauges, unknown columns, basins without an area.
    """
    options = read_options(source, CamelsOptions)
    root, where = Path(source.address), f'source "{source.name}", {source.address}'
    faults = Faults()
    attributes = _attributes(root, where, faults)
    faults.raise_if_any()
    sites = chosen_sites(attributes.index.tolist(), options.sites, where, faults)
    faults.raise_if_any()
    attributes = attributes.loc[sites]
    wanted = [variable.name for variable in source.variables.values()]
    statics = [name for name in wanted if name in attributes]
    forcings = [name for name in wanted if name not in attributes and name != FLOW]
    positions = attributes[["gauge_lat", "gauge_lon"]].set_axis(["lat", "lon"], axis=1)
    forcing_files, flow_files = dict[str, Path](), dict[str, Path]()
    if forcings:
        folder = _folder(root, "basin_mean_forcing") / options.forcings
        forcing_files = _files(folder, FORCING, sites, where, faults)
    area = pd.Series(np.nan, sites)
    if FLOW in wanted:
        area = _area(attributes, options.area, where, faults)
        flow_files = _files(_folder(root, "usgs_streamflow"), DISCHARGE, sites, where, faults)
    faults.raise_if_any()
    units = {FLOW: "mm/day"}
    series = {}
    for site in sites if forcings or FLOW in wanted else ():
        frames = []
        if forcings:
            frame, declared = _forcing(forcing_files[site], forcings, source)
            frames.append(frame)
            units |= declared
        if FLOW in wanted:
            frames.append(_depth(flow_files[site], site, float(area[site]), options.flags, source))
        series[site] = pd.concat(frames, axis=1, sort=True)
    return site_table(source, positions, attributes[statics], series, units)


def _folder(root: Path, name: str) -> Path:
    """Return a folder in `root`, or in that of the unpacked archive."""
    unpacked = sorted(root.glob(f"*/basin_dataset_public_v1p2/{name}"))
    return unpacked[0] if unpacked and not (root / name).is_dir() else root / name


def _attributes(root: Path, where: str, faults: Faults) -> pd.DataFrame:
    """Return all columns of the `camels_*.txt`, in `root` or a folder below it, by gauge id."""
    paths = sorted([*root.glob("camels_*.txt"), *root.glob("*/camels_*.txt")])
    if not any(path.name == "camels_topo.txt" for path in paths):
        faults.add(where, "no camels_topo.txt",
                   "the file with coordinates and areas of the gauges")  # fmt: skip
        return pd.DataFrame()
    frames = {path.name: read_attributes(path, "gauge_id", faults, sep=";") for path in paths}
    needed = ("gauge_lat", "gauge_lon", "area_gages2", "area_geospa_fabric")
    check_columns(needed, frames["camels_topo.txt"].columns, f"{where}, camels_topo.txt", faults)
    table = pd.concat(list(frames.values()), axis=1).reindex(frames["camels_topo.txt"].index)
    return table.loc[:, ~table.columns.duplicated()]


def _area(attributes: pd.DataFrame, column: str, where: str, faults: Faults) -> pd.Series:
    """Return the basins' areas by gauge, km2; adds a fault for gauges without an area."""
    area = numeric(attributes[[column]], where)[column]
    without = area.index[~(area > 0)]
    if len(without):
        faults.add(f"{where}: {column}", f"no area of basins, {listed(without)}", "km2 > 0")
    return area


def _files(
    folder: Path, form: re.Pattern[str], sites: list[str], where: str, faults: Faults
) -> dict[str, Path]:
    """Return the file of each site, in any region's folder; adds faults for none or several."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/*.txt")):
        match = form.fullmatch(path.name)
        if match:
            found.setdefault(match[1], []).append(path)
    missing = [site for site in sites if site not in found]
    several = [site for site in sites if len(found.get(site, ())) > 1]
    below = f"{where}: {folder.name}"
    if missing:
        faults.add(below, f"no file of gauges, {listed(missing)}", f"a file per gauge in {folder}",
                   "Download them, or list the gauges to use under `options: {sites: [...]}`.",
                   )  # fmt: skip
    if several:
        faults.add(below, f"several files of gauges, {listed(several)}", "a file per gauge")
    return {site: found[site][0] for site in sites if site in found}


def _forcing(path: Path, names: list[str], source: Source) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the wanted columns by day, and the units in the header."""
    where, faults = f'source "{source.name}", {path}', Faults()
    check_format(where, path, FORCING_ROWS, *ROWS)
    try:
        # The first three lines are latitude, elevation and area.
        frame = pd.read_csv(path, sep=r"\s+", skiprows=3)
        days = pd.to_datetime(frame.iloc[:, :3].set_axis(["year", "month", "day"], axis=1))
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, FORCING_ROWS, *ROWS) from None
    titles = [re.fullmatch(r"(\w+)\((.+)\)", str(name)) for name in frame.columns]
    columns = {
        title[1].lower(): (str(name), title[2])
        for name, title in zip(frame.columns, titles, strict=True)
        if title
    }
    check_columns(names, columns, where, faults)
    faults.raise_if_any()
    chosen = frame[[columns[name][0] for name in names]].set_axis(names, axis=1)
    units = {name: columns[name][1] for name in names}
    return by_time(chosen, days, where), {n: HEADER_UNITS.get(u, u) for n, u in units.items()}


def _depth(
    path: Path, gauge: str, area_km2: float, flags: tuple[str, ...], source: Source
) -> pd.DataFrame:
    """Return discharge over the area by day, mm/day; NaN if missing or without one of `flags`."""
    where = f'source "{source.name}", {path}'
    check_format(where, path, FLOW_ROWS, *ROWS)
    try:
        frame = pd.read_csv(path, sep=r"\s+", header=None, dtype={0: str},
                            names=["gauge", "year", "month", "day", "flow", "flag"])  # fmt: skip
        days = pd.to_datetime(frame[["year", "month", "day"]])
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, FLOW_ROWS, *ROWS) from None
    flow = by_time(frame[["flow"]], days, where)["flow"]
    others = frame["gauge"][frame["gauge"] != gauge].unique()
    if others.size:
        raise bad_input(where, f"discharge of other gauges, {listed(others)}",
                        f"{gauge} in every row",
                        "Download it again: files may have been swapped.")  # fmt: skip
    counts = frame["flag"].isin(flags).to_numpy() & (flow.to_numpy() != -999.0)
    # ft3 s-1 → m3/day, over m2, in mm.
    depth = flow.where(counts) * (CUBIC_FOOT_M3 * SECONDS_A_DAY * 1000.0 / (area_km2 * 1e6))
    return depth.to_frame(FLOW)


DRIVER = Driver(
    name="camels_us",
    open=open_camels,
    returns="sites",
    options=CamelsOptions,
    is_remote=False,
)
