"""International Soil Moisture Network: daily means of stations' sensors (driver `ismn`).

The `uri` of an entry is the extracted download, or its zip. Needs the package `ismn` (extra
`ismn`). Network: Dorigo et al. 2021, doi 10.5194/hess-25-5749-2021; quality flags: Dorigo et al.
2013, doi 10.2136/vzj2012.0097.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd
import xarray as xr
from pydantic import Field, model_validator

from pipeline.core.errors import LIBRARY_ERRORS, Faults, bad_input, listed
from pipeline.core.settings import Frozen
from pipeline.entries.source import Source
from pipeline.readers.common.site_table import chosen_sites, read_options, site_table
from pipeline.readers.driver import Driver

UNITS = {"soil_moisture": "m3 m-3", "soil_temperature": "degC"}
"""Variables for which daily means are meaningful, and their units in ISMN."""

CODES = {"sm": "soil_moisture", "ts": "soil_temperature"}
"""Codes of variables in file names."""
FILE_NAME = re.compile(r".+_([a-z]+)_(-?\d+\.\d+)_(-?\d+\.\d+)_.+\.stm")
"""Pattern of file names such as `<net>_<net>_<station>_sm_0.05_0.05_<sensor>_….stm`."""

SKIPPED = "a file that is empty, truncated, not an ISMN file, or of the same sensor as another file"
ROWS = "a header and hourly values with two flags"
HINT = "Download it again, or set `options: {unreadable: leave_out}`."

GOOD = "G"
"""Quality flag of values that are used."""


class IsmnOptions(Frozen):
    """Options of an entry: the sensors to use, and the condition for a daily mean."""

    depth: tuple[float, float] = (0.0, 0.05)
    """Depth interval in metres, ends included, within which a sensor must measure."""
    networks: tuple[str, ...] = ()
    """Names of networks; by default all."""
    sites: tuple[str, ...] | str = ()
    """Stations such as COSMOS/ARM-1, or a text file with one per line; by default all."""
    min_values: int = Field(1, ge=1, le=24)
    """Minimum number of good values of a sensor for a daily mean; most sensors have 24."""
    unreadable: Literal["refuse", "leave_out"] = "refuse"
    """Treatment of files of wanted sensors that are empty, truncated or not ISMN files."""

    def reach(self, start: float, end: float) -> bool:
        """Whether a sensor from `start` to `end` metres lies within the depth interval."""
        return start >= self.depth[0] - 1e-9 and end <= self.depth[1] + 1e-9

    @model_validator(mode="after")
    def _downwards(self) -> IsmnOptions:
        if not 0 <= self.depth[0] <= self.depth[1]:
            raise ValueError(
                f"depth from {self.depth[0]:g} to {self.depth[1]:g}, which is not downwards"
            )
        return self


def open_ismn(source: Source) -> xr.Dataset:
    """Return daily means (UTC) of good values over the sensors in `depth`, dims (time, cell).

    Sites are called network/station. Stations without a good value are left out and counted in the
    attribute `left_out_stations`; unreadable files, if the entry leaves them out, in
    `left_out_files`. Raises `InputError` with all of: unknown variables, networks and stations,
    unreadable files, no sensor in the depth interval, duplicate times.
    """
    options, where = read_options(source, IsmnOptions), f'source "{source.name}", {source.address}'
    wanted = [variable.name for variable in source.variables.values()]
    faults = Faults()
    for name in wanted:
        if name not in UNITS:
            faults.add(
                f"{where}: {name}", "a variable without daily means", f"one of {', '.join(UNITS)}"
            )
    faults.raise_if_any()
    collection = _collection(source, options, where)
    unread = faults if options.unreadable == "refuse" else Faults()
    for path in _skipped_files(source.address, collection, options, wanted):
        unread.add(f"{where}: {path}", SKIPPED, ROWS, HINT)
    stations = {
        f"{network.name}/{station.name}": station
        for network in collection
        for station in network.stations.values()
    }
    sites = chosen_sites(sorted(stations), options.sites, where, faults)
    faults.raise_if_any()
    series = {}
    for site in sites:
        columns = {
            name: _daily(stations[site], name, options, where, faults, unread) for name in wanted
        }
        frame = pd.DataFrame({name: days for name, days in columns.items() if days is not None})
        if frame.notna().to_numpy().any():
            series[site] = frame.reindex(columns=wanted)
    faults.raise_if_any()
    if not series:
        depths = sorted({str(s.depth) for one in stations.values() for s in one.sensors.values()})
        raise bad_input(where, f"no good value from {options.depth[0]:g} to {options.depth[1]:g} m",
                        f"a depth with sensors, such as {listed(depths)}",
                        "Change `options: {depth: [...]}`.")  # fmt: skip
    positions = pd.DataFrame(
        {"lat": [stations[site].lat for site in series],
         "lon": [stations[site].lon for site in series]}, index=list(series),
    )  # fmt: skip
    ds = site_table(source, positions, pd.DataFrame(index=positions.index), series, UNITS)
    return ds.assign_attrs(
        left_out_stations=len(sites) - len(series), left_out_files=len(unread.faults)
    )


def _collection(source: Source, options: IsmnOptions, where: str) -> list[Any]:
    """Return the networks that the package `ismn` finds."""
    interface = importlib.import_module("ismn.interface")
    # The package would write its index into the data folder, which may be read-only, and prints.
    silent = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(silent), \
            contextlib.redirect_stderr(silent):  # fmt: skip
        try:
            data = interface.ISMN_Interface(source.address, meta_path=folder, temp_root=folder)
        except Exception as error:  # the package may raise anything
            raise bad_input(
                where, f"a folder that cannot be read ({type(error).__name__}: {error})",
                "a download of ISMN: network folders of station folders",
            ) from None  # fmt: skip
    networks = dict(data.networks)
    unknown = sorted(set(options.networks) - set(networks))
    if unknown:
        raise bad_input(f"{where}: networks", f"unknown networks, {listed(unknown)}",
                        f"some of {', '.join(sorted(networks))}")  # fmt: skip
    return [networks[name] for name in sorted(options.networks or networks)]


def _skipped_files(
    uri: str, networks: list[Any], options: IsmnOptions, wanted: list[str]
) -> list[str]:
    """Return the files of wanted sensors that the package skipped because it cannot read them."""
    root = Path(uri)
    if root.is_dir():
        there = [path.relative_to(root).as_posix() for path in root.rglob("*.stm")]
    else:
        with zipfile.ZipFile(root) as archive:
            there = [name for name in archive.namelist() if name.endswith(".stm")]
    read = {
        PurePosixPath(sensor.filehandler.file_path).as_posix()
        for network in networks
        for station in network.stations.values()
        for sensor in station.sensors.values()
    }
    return [
        path for path in sorted(there) if path not in read and _is_wanted(path, options, wanted)
    ]


def _is_wanted(path: str, options: IsmnOptions, wanted: list[str]) -> bool:
    """Whether a file may be of a wanted sensor, judged by its folder and name."""
    parts = PurePosixPath(path).parts
    if options.networks and not set(options.networks) & set(parts[:-1]):
        return False
    match = FILE_NAME.fullmatch(parts[-1])
    if match is None:
        return True
    name = CODES.get(match[1], match[1])
    return name in wanted and options.reach(float(match[2]), float(match[3]))


def _daily(
    station: Any, name: str, options: IsmnOptions, where: str, faults: Faults, unread: Faults
) -> pd.Series | None:
    """Return the mean over a station's sensors of their daily means; None without such a sensor.

    Adds a fault for duplicate times, and one to `unread` for each file that cannot be read.
    """
    means = []
    for key, sensor in station.sensors.items():
        if sensor.variable != name or not options.reach(sensor.depth.start, sensor.depth.end):
            continue
        at = f"{where}: {station.name}, {key}"
        try:
            data = sensor.read_data()
            values, flags = pd.to_numeric(data[name]), data[f"{name}_flag"]
            if data.index.hasnans or pd.isna(flags.iloc[-1]):
                raise ValueError("a truncated row")
        except LIBRARY_ERRORS as error:
            unread.add(at, f"a file that cannot be read ({error})", ROWS, HINT)
            continue
        if data.index.has_duplicates:
            repeated = data.index[data.index.duplicated()]
            faults.add(at, f"duplicate times, {listed(repeated)}", "one row for each time")
            continue
        days = values.where(flags == GOOD).resample("1D")
        means.append(days.mean().where(days.count() >= options.min_values))
    return pd.concat(means, axis=1).mean(axis=1) if means else None


DRIVER = Driver(
    name="ismn",
    open=open_ismn,
    returns="sites",
    options=IsmnOptions,
    is_remote=False,
    requires={"ismn": "stefaland[ismn]"},
)
