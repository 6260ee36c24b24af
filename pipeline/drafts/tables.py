"""Drafts of entries of tables: stations or points with their columns of place, time and values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.errors import InputError
from pipeline.core.units import may_be_total
from pipeline.drafts.known import known_variable, of_file_name
from pipeline.drafts.listing import probe_source
from pipeline.drafts.look import Group
from pipeline.drafts.text import DECIDE, ENTRY, FOUND, Draft
from pipeline.drafts.times import BOTH, DAY_HOURS
from pipeline.drafts.values import guess_units
from pipeline.entries.variable import Variable
from pipeline.readers.tables.dates import dates_of
from pipeline.readers.tables.table_files import TableOptions, read_table
from pipeline.times.stamps import HOURS

LAT = ("lat", "latitude", "lat_dd", "y", "northing", "breite", "hochwert", "y_coord", "geo_lat")
LON = ("lon", "long", "longitude", "lng", "lon_dd", "x", "easting", "laenge", "rechtswert",
       "x_coord", "geo_lon")  # fmt: skip
CELL = ("station_id", "station", "site_id", "site", "id", "gauge_id", "gauge", "basin", "cell",
        "name", "code", "stationsid", "plot", "profile_id")  # fmt: skip
TIME = ("date", "time", "datetime", "timestamp", "day", "datum", "valid_time", "obs_date")
UNITS = re.compile(r"(.+?)[\s_]*[\[(]\s*(.+?)\s*[\])]\s*")
"""Column with its units in brackets, such as `rain [mm/day]`."""
DEGREES = 360.0


def draft_table(group: Group, name: str, variables: Mapping[str, Variable]) -> Draft:
    """Return the draft of tables whose rows are places, or times of places.

    Raises `InputError` for files that cannot be read.
    """
    probe = probe_source("table", group.uri, name, {})
    table = read_table(group.paths[0], probe, TableOptions())
    columns = [str(column) for column in table.columns]
    place = {key: _named(columns, names) for key, names in
             (("lat", LAT), ("lon", LON), ("cell", CELL))}  # fmt: skip
    time = _named(columns, TIME)
    entry: dict[str, Any] = {"uri": group.uri, "driver": "table"}
    notes: dict[str, list[str]] = {}
    for key in ("lat", "lon", "cell"):
        if place[key]:
            entry[key] = place[key]
    missing = [key for key in ("lat", "lon") if not place[key]]
    if missing:
        notes[ENTRY] = [
            f"{DECIDE}none of the columns {', '.join(columns[:12])} is called like "
            f"{' or '.join(missing)}: name them, or the table of the stations with"
            " `options: {stations: stations.csv}` (and `wide: true` if columns are stations)."
        ]
    elif max(float(np.nanmax(np.abs(_numbers(table[place[k]])))) for k in ("lat", "lon")) > DEGREES:
        notes["lat"] = [f"{DECIDE}coordinates are no degrees: write their `crs: EPSG:…`."]
    used = {*place.values(), time}
    found, said = _variables(table, [c for c in columns if c not in used], group, variables)
    notes |= said
    if time:
        entry["dims"] = {"time": time}
        try:
            hours = _hours(table, time)
        except InputError as error:
            hours = None
            notes["dims"] = [f"{DECIDE}{f.found}; expected {f.expected}. {f.hint}"
                             for f in error.faults]  # fmt: skip
        if hours is not None and hours < DAY_HOURS:
            step = next((text for text, one in HOURS.items() if one == hours), None)
            entry["time"] = {**({"step": step} if step else {}), "daily": True}
            _add_methods(found, variables, notes)
    return Draft(name, {**entry, "variables": found}, notes)


def _hours(table: pd.DataFrame, time: str) -> float | None:
    """Return the median time between the rows' times in hours; None for fewer than two times."""
    times = np.unique(dates_of(table, (time,), None, time))
    if times.size < 2:
        return None
    return float(np.median(np.diff(times) / np.timedelta64(1, "s"))) / 3600


def _add_methods(
    found: dict[str, dict[str, Any]],
    variables: Mapping[str, Variable],
    notes: dict[str, list[str]],
) -> None:
    """Set how steps become days: states and rates by their means; amounts are a decision."""
    for key, settings in found.items():
        is_rate = not may_be_total(variables[key].units)
        if is_rate and may_be_total(settings.get("units", "")):
            text = f"{DECIDE}the table does not state whether values are amounts {BOTH}."
            notes.setdefault(f"variables.{key}", []).append(text)
        else:
            settings["cell_method"] = "mean"


def _named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the column that is called by one of the names, the first of them that there is."""
    by_name = {column.strip().lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def _numbers(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(float)


def _variables(
    table: pd.DataFrame, columns: Sequence[str], group: Group, variables: Mapping[str, Variable]
) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Return the settings of the columns with values, and the notes on them."""
    numeric = [c for c in columns if np.isfinite(_numbers(table[c])).any()]
    found: dict[str, dict[str, Any]] = {}
    notes: dict[str, list[str]] = {}
    others = []
    for column in numeric:
        match = UNITS.fullmatch(column)
        plain, units = (match[1], match[2]) if match else (column, "")
        key = known_variable(plain, variables, units=units)
        if key is None and len(numeric) == 1:
            key = of_file_name(group.paths[0].stem, variables)
        if key is None or key in found:
            others.append(column)
            continue
        settings: dict[str, Any] = {"name": column}
        if units:
            settings["units"] = units
        else:
            said = guess_units(settings, key, variables[key], _numbers(table[column]))
            notes[f"variables.{key}"] = said
        found[key] = settings
    if others:
        text = f"no canonical variable is known for the columns {', '.join(others[:8])}"
        kind = FOUND if found else DECIDE
        notes["variables"] = [f"{kind}{text}; write `VARIABLE: {{name: {others[0]}, units: …}}` to"
                              " use one."]  # fmt: skip
    return found, notes
