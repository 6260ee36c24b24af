"""Landslide inventories: events with a sufficiently accurate location (driver `landslides`).

An inventory is a CSV or GeoPackage with a row per event, such as NASA's COOLR and its Global
Landslide Catalog (Kirschbaum et al. 2015, doi 10.1016/j.geomorph.2015.03.016). It has no cells
without landslides: `pipeline.sites.absences` draws them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field

from pipeline.core.archives.unpacked_files import member_copy
from pipeline.core.errors import LIBRARY_ERRORS, Faults, bad_input, listed, nearest_name
from pipeline.core.settings import Frozen
from pipeline.entries.source import Source
from pipeline.readers.common.first_bytes import ROWS, VECTORS
from pipeline.readers.common.refusals import check_format, unreadable
from pipeline.readers.common.site_table import (
    check_columns,
    in_degrees,
    numeric,
    read_options,
    site_table,
)
from pipeline.readers.driver import Driver, common_options
from pipeline.readers.guards.vectors import check_vector
from pipeline.readers.tables.dates import clear_dates, unclear_dates, unclear_order
from pipeline.readers.tables.text_table import ENCODINGS, marks_of, ungrouped

COOLR = "%m/%d/%Y %I:%M:%S %p"
"""Format of dates of COOLR."""
EVENT = "event"
"""Name of the variable that is 1 at every event; all others are columns of the inventory."""


class LandslideOptions(Frozen):
    """Options of an entry: the events to use. Default columns are those of the CSV of COOLR."""

    max_accuracy_km: float = Field(5.0, ge=0)
    """Largest location error in km; events with a larger or unknown error are left out."""
    triggers: tuple[str, ...] = ()
    """Triggers such as downpour, rain and continuous_rain; by default all."""
    undated: Literal["refuse", "leave_out"] = "refuse"
    date_format: str | None = None
    """Format of dates that are neither ISO 8601 nor those of COOLR (01/31/2009 02:00:00 PM)."""
    accuracy_column: str = "location_accuracy"
    trigger_column: str = "landslide_trigger"


def open_landslides(source: Source) -> xr.Dataset:
    """Return events, dims (cell,): `event` is 1, other variables are columns of the inventory.

    `cell` of the entry names the column of ids, `dims.time` that of dates (coordinate
    `event_date`); a GeoPackage has points instead of columns lat and lon. The attributes
    `left_out_*` count the events that the options exclude. Raises `InputError` with all of: unknown
    columns, accuracies and triggers, duplicate events, no date, coordinates that are not degrees.
    """
    options = read_options(source, LandslideOptions)
    where = f'source "{source.name}", {source.address}'
    table, faults = _read(source, where), Faults()
    date = source.dims.get("time", "event_date")
    columns = [str(v.name) for v in source.variables.values() if v.name != EVENT]
    needed = [str(source.cell), date, options.accuracy_column, options.trigger_column, *columns]
    check_columns([*needed, str(source.lat), str(source.lon)], table.columns, where, faults)
    faults.raise_if_any()
    table = table.set_index(table[str(source.cell)].astype(str))
    repeated = table.index[table.index.duplicated()].unique()
    if len(repeated):
        faults.add(where, f"duplicate events, {listed(repeated)}", "each event once")
    dates = _dates(table[date], options, where, faults)
    accuracy = _accuracy_km(table[options.accuracy_column], where, faults)
    triggered = _triggered(table[options.trigger_column], options, where, faults)
    faults.raise_if_any()
    close = (accuracy <= options.max_accuracy_km).to_numpy()
    dated = dates.notna().to_numpy()
    kept = close & triggered & dated
    positions = numeric(table[[str(source.lat), str(source.lon)]].apply(ungrouped), where)[kept]
    if source.files[0].suffix == ".csv":
        positions = in_degrees(positions, source)
    values = numeric(table[columns].apply(ungrouped), where)[kept].assign(**{EVENT: 1.0})
    ds = site_table(source, positions.set_axis(["lat", "lon"], axis=1), values, units={EVENT: "1"})
    left_out = {"inaccurate": ~close, "other_trigger": ~triggered, "undated": ~dated}
    return ds.assign_coords(
        event_date=("cell", dates[kept].to_numpy("datetime64[ns]"))
    ).assign_attrs({f"left_out_{reason}": int(mask.sum()) for reason, mask in left_out.items()})


def _read(source: Source, where: str) -> pd.DataFrame:
    """Return the rows; the points of a GeoPackage become the columns lat and lon of the entry."""
    path, expected = member_copy(source.files[0]), "a CSV or GeoPackage of events"
    check_format(where, path, expected, *ROWS, *VECTORS)
    try:
        if path.suffix == ".csv":
            return _read_csv(path, str(source.cell), where)
        import geopandas

        check_vector(path, where, common_options(source).trust)
        frame = geopandas.read_file(path)
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, expected, *ROWS, *VECTORS) from None
    if frame.crs is None or not (frame.geom_type == "Point").all():
        found = "no CRS" if frame.crs is None else "geometries that are not points"
        raise bad_input(where, found, "points with a CRS, one for each event")
    points = frame.geometry.to_crs("EPSG:4326")
    columns = pd.DataFrame(frame.drop(columns=frame.geometry.name))
    return columns.assign(**{str(source.lat): points.y, str(source.lon): points.x})


def _read_csv(path: Path, cell: str, where: str) -> pd.DataFrame:
    """Return the rows of a CSV in UTF-8 or Latin-1; ids such as "1,000" are those of 1000."""
    for encoding in ENCODINGS:
        try:
            separator, mark = marks_of(path, encoding, where)
            table = pd.read_csv(
                path, sep=separator, decimal=mark, dtype={cell: str}, low_memory=False,
                encoding=encoding,
            )  # fmt: skip
            break
        except UnicodeDecodeError:
            if encoding == ENCODINGS[-1]:
                raise
    if cell in table:
        grouped = table[cell].str.fullmatch(r"\d{1,3}(,\d{3})+").fillna(value=False)
        table[cell] = table[cell].where(~grouped, table[cell].str.replace(",", ""))
    return table


def _dates(
    column: pd.Series, options: LandslideOptions, where: str, faults: Faults
) -> pd.Series:  # fmt: skip
    texts = column.astype("string").str.strip()
    unclear = unclear_order(texts) & ~texts.str.contains("[AP]M$").fillna(value=False)
    if unclear.any() and options.date_format is None:
        events = [f"of event {name}" for name in column.index[unclear]]
        fault = unclear_dates(texts[unclear].set_axis(events), f"{where}: {column.name}")
        faults.faults += fault.faults
        return pd.Series(pd.NaT, column.index)
    # Time zones may differ between events or be missing; times without a zone are UTC.
    if options.date_format is not None or column.dtype.kind == "M":
        form = options.date_format
        dates = pd.to_datetime(column, format=form, errors="coerce", utc=True)
    else:
        dates = clear_dates(texts)
        coolr = pd.to_datetime(texts, format=COOLR, errors="coerce", utc=True)
        dates = dates.where(dates.notna(), coolr)
    dates = dates.dt.tz_localize(None)
    unread = dates.isna() & column.notna()
    if unread.any():
        faults.add(f"{where}: {column.name}", f'"{column[unread].iloc[0]}" at events, '
                   f"{listed(column.index[unread])}", "dates")  # fmt: skip
    if options.undated == "refuse" and column.isna().any():
        faults.add(
            f"{where}: {column.name}", f"no date of events, {listed(column.index[column.isna()])}",
            "dates", "Set `options: {undated: leave_out}`.",
        )  # fmt: skip
    return dates


def _accuracy_km(column: pd.Series, where: str, faults: Faults) -> pd.Series:
    """Return the accuracy in km from "exact", "5km" and so on; NaN if unknown or empty."""
    text = column.astype("string").str.strip().str.lower().fillna("unknown")
    spelt = text.unique().tolist()
    known = {"exact": 0.0, "unknown": np.nan}
    known |= {s: float(m[1]) for s in spelt if (m := re.fullmatch(r"(\d+(?:\.\d+)?) ?km", s))}
    strange = [s for s in spelt if s not in known]
    if strange:
        faults.add(f"{where}: {column.name}", f"accuracies {listed(strange)}",
                   'exact, unknown, or kilometres such as "5km"')  # fmt: skip
    return text.map(known).astype(float)


def _triggered(
    column: pd.Series, options: LandslideOptions, where: str, faults: Faults
) -> np.ndarray:
    there = column.astype("string").fillna("unknown")
    known = sorted(there.unique())
    for name in options.triggers:
        if name not in known:
            faults.add(f"{where}: {column.name}", f"triggers {', '.join(known)}", f'"{name}"',
                       nearest_name(name, known))  # fmt: skip
    if not options.triggers:
        return np.ones(len(there), bool)
    return np.asarray(there.isin(options.triggers).to_numpy(bool))


DRIVER = Driver(
    name="landslides",
    open=open_landslides,
    returns="sites",
    needs=("lat", "lon", "cell"),
    options=LandslideOptions,
)
