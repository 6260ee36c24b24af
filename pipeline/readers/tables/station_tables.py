"""Tables of stations beside the series of an entry: their places and their attributes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipeline.core.errors import Faults, bad_input, listed, nearest_name
from pipeline.entries.source import Source
from pipeline.entries.source_variable import SourceVariable
from pipeline.readers.common.site_table import check_columns
from pipeline.readers.tables.table_files import TableOptions, read_table


def read_stations(source: Source, options: TableOptions) -> pd.DataFrame:
    """Return the columns of the tables of stations by the id of the station, as text.

    A column of several tables is that of the first. Raises `InputError` for missing columns and
    repeated stations.
    """
    cell = str(source.cell)
    own = TableOptions(stations=options.stations, encoding=options.encoding)
    frames: list[pd.DataFrame] = []
    for path in options.station_tables:
        at, faults = f'source "{source.name}", {path}', Faults()
        frame = read_table(Path(path), source, own)
        places = () if frames else (str(source.lat), str(source.lon))
        check_columns([cell, *places], frame.columns, at, faults)
        faults.raise_if_any()
        frame = frame.set_index(frame[cell].astype(str).str.strip().rename(cell), drop=True)
        if frame.index.duplicated().any():
            repeated = frame.index[frame.index.duplicated()].unique()
            raise bad_input(at, f"duplicate stations, {listed(repeated)}", "each station once")
        frames.append(frame.drop(columns=cell))
    joined = pd.concat([frame.reindex(frames[0].index) for frame in frames], axis=1)
    return joined.loc[:, ~joined.columns.duplicated()]


def attributes_of(source: Source, options: TableOptions) -> dict[str, SourceVariable]:
    """Return the variables of an entry that are columns of its stations, not of its series."""
    if not options.station_tables:
        return {}
    series = read_table(source.opened_files[0], source, options).columns
    known = set(read_stations(source, options).columns) - set(series)
    return {name: entry for name, entry in source.variables.items() if entry.name in known}


def stations_of(
    source: Source, options: TableOptions, ids: Iterable[str], what: str, where: str
) -> pd.DataFrame:
    """Return the latitudes and longitudes of stations by id; `InputError` if one of `ids` lacks."""
    stations = read_stations(source, options)
    unknown = sorted(set(ids) - set(stations.index))
    if unknown:
        raise bad_input(
            where, f"{what} of unknown stations, {listed(unknown)}",
            f"the ids in {options.station_tables[0]}", nearest_name(unknown[0], stations.index),
        )  # fmt: skip
    return stations[[str(source.lat), str(source.lon)]]
