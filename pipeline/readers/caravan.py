"""Caravan and its extensions: time series of basins and tables of attributes (driver `caravan`).

The `uri` of an entry is the root folder of the dataset. Layout of the files: Kratzert et al. 2023,
doi 10.1038/s41597-023-01975-w.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd
import xarray as xr

from pipeline.core.errors import LIBRARY_ERRORS, Faults, listed
from pipeline.core.settings import Frozen, later
from pipeline.entries.source import Source
from pipeline.readers.common.first_bytes import NETCDF, ROWS
from pipeline.readers.common.refusals import check_format, unreadable
from pipeline.readers.common.site_table import (
    by_time,
    check_columns,
    chosen_sites,
    parsed_dates,
    read_attributes,
    read_options,
    site_table,
)
from pipeline.readers.driver import Driver, common_options
from pipeline.readers.guards.hdf5 import check_hdf5

TABLES = ("other", "caravan", "hydroatlas")
"""Attribute tables of a source dataset; `other` has the coordinates of the gauges."""
SERIES = "a series of Caravan by `date`"


class CaravanOptions(Frozen):
    """Options of an entry: the basins, and the file format of the series."""

    datasets: tuple[str, ...] = ()
    """Source datasets (camels, camelsgb, hysets, …); by default every folder of attributes/."""
    sites: tuple[str, ...] | str = ()
    """Gauge ids such as camels_01022500, or a text file with one id per line; by default all."""
    form: Literal["netcdf", "csv"] = "netcdf"
    date_format: str | None = later(None)
    """Format of dates of CSV files that are not ISO 8601, such as "%d.%m.%Y"."""


def open_caravan(source: Source) -> xr.Dataset:
    """Return basins as (time, cell) series and (cell,) attributes under Caravan's names, as stored.

    A variable that is a column of an attribute table is static; the others are read from
    `timeseries/<form>/<dataset>/<gauge_id>.<ending>`. Raises `InputError` with all of: missing
    tables and series, unknown columns, duplicate gauges.
    """
    options = read_options(source, CaravanOptions)
    root, where = Path(source.address), f'source "{source.name}", {source.address}'
    faults = Faults()
    attributes = _attributes(root, options.datasets, where, faults)
    faults.raise_if_any()
    wanted = [variable.name for variable in source.variables.values()]
    statics = [name for name in wanted if name in attributes]
    dynamic = [name for name in wanted if name not in attributes]
    sites = chosen_sites(attributes.index.tolist(), options.sites, where, faults)
    faults.raise_if_any()
    attributes = attributes.loc[sites]
    ending = {"netcdf": "nc", "csv": "csv"}[options.form]
    folder = root / "timeseries" / options.form
    files = {
        site: folder / str(attributes.at[site, "dataset"]) / f"{site}.{ending}" for site in sites
    }
    missing = [site for site, path in files.items() if dynamic and not path.is_file()]
    if missing:
        faults.add(f"{where}: timeseries/{options.form}", f"no file of basins, {listed(missing)}",
                   f"one file per basin, such as {files[missing[0]].relative_to(root)}",
                   "Download them, or list the basins to use under `options: {sites: [...]}`.",
                   )  # fmt: skip
    faults.raise_if_any()
    positions = attributes[["gauge_lat", "gauge_lon"]].set_axis(["lat", "lon"], axis=1)
    if not dynamic:
        return site_table(source, positions, attributes[statics])
    series, units = {}, dict[str, str]()
    for site, path in files.items():
        series[site], declared = _read_series(path, dynamic, source, options.date_format)
        units |= declared
    return site_table(source, positions, attributes[statics], series, units)


def _attributes(root: Path, datasets: tuple[str, ...], where: str, faults: Faults) -> pd.DataFrame:
    """Return all attributes by gauge id, and `dataset`, the folder of each gauge."""
    folder = root / "attributes"
    there = (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )
    if not there:
        faults.add(where, "no folder in attributes/", "the root of a Caravan dataset")
    check_columns(datasets, there, f"{where}: datasets", faults)
    frames = []
    for name in [name for name in (datasets or there) if name in there]:
        tables = {t: folder / name / f"attributes_{t}_{name}.csv" for t in TABLES}
        if not tables["other"].is_file():
            faults.add(
                f"{where}, {tables['other'].name}", "no such file", "the gauges' coordinates"
            )
            continue
        parts = [read_attributes(p, "gauge_id", faults) for p in tables.values() if p.is_file()]
        frame = pd.concat(parts, axis=1).reindex(parts[0].index)
        check_columns(("gauge_lat", "gauge_lon"), frame.columns, str(tables["other"]), faults)
        frames.append(frame.loc[:, ~frame.columns.duplicated()].assign(dataset=name))
    return pd.concat(frames) if frames else pd.DataFrame()


def _read_series(
    path: Path, names: list[str], source: Source, date_format: str | None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the wanted columns by date, and the units that the file declares."""
    where, faults = f'source "{source.name}", {path}', Faults()
    try:
        if path.suffix == ".csv":
            check_format(where, path, SERIES, *ROWS)
            table = pd.read_csv(path, dtype={"date": str})
            check_columns(["date", *names], table.columns, where, faults)
            faults.raise_if_any()
            dates = parsed_dates(table["date"], f"{where}: date", date_format)
            return by_time(table[names], dates, where), {}
        check_hdf5(path, where, common_options(source).trust)
        with xr.open_dataset(path, engine="netcdf4") as ds:
            check_columns(["date", *names], ds.variables, where, faults)
            faults.raise_if_any()
            units = {name: str(ds[name].attrs.get("units", "")) for name in names}
            table = ds[names].reset_coords(drop=True).to_dataframe().reset_index()
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, SERIES, *NETCDF, *ROWS) from None
    return by_time(table[names], parsed_dates(table["date"], where), where), {
        name: text for name, text in units.items() if text
    }


DRIVER = Driver(
    name="caravan",
    open=open_caravan,
    returns="sites",
    options=CaravanOptions,
    is_remote=False,
)
