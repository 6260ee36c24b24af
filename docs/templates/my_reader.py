"""Template of a reader of your own: copy it next to your config and change `read_toy`.

The toy format is a text file: a line `west north cell`, then rows of numbers from north to south,
with -9999 where there is no value. Name the module in the config (`plugins: [my_reader]`), or list
it in the `pyproject.toml` of your package:

    [project.entry-points."stefaland.readers"]
    toy = "my_reader:DRIVER"
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from pydantic import Field

from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.settings import Frozen
from pipeline.entries.source import Source
from pipeline.readers.common.files import open_files
from pipeline.readers.common.site_table import read_options
from pipeline.readers.driver import Driver
from pipeline.readers.registry import register_reader

HOLDS = "value"
"""Name of the only variable of a file, which a catalog entry must use."""


class ToyOptions(Frozen):
    """Options of an entry; unknown keys are refused with the nearest name."""

    header_lines: int = Field(0, ge=0)
    """Number of comment lines before the first line."""


def read_toy(source: Source, path: Path) -> xr.Dataset:
    """The entry's variables of one file, with dims (lat, lon), NaN where there is no value.

    Raises `InputError` for a file that cannot be read, and for a variable that is not in it.
    """
    where = f'source "{source.name}", {path}'
    for variable in source.variables.values():
        if variable.name != HOLDS:
            hint = nearest_name(variable.name, [HOLDS])
            raise bad_input(where, f'a variable "{HOLDS}"', f'"{variable.name}"', hint)
    lines = path.read_text().splitlines()[read_options(source, ToyOptions).header_lines :]
    try:
        west, north, cell = (float(number) for number in lines[0].split())
        values = np.array([[float(number) for number in line.split()] for line in lines[1:]])
    except (ValueError, IndexError) as error:
        expected = "a line `west north cell` and rows of numbers of one length"
        raise bad_input(where, f"a file that cannot be read ({error})", expected) from None
    rows, columns = values.shape
    coords = {
        "lat": north - cell * (np.arange(rows) + 0.5),
        "lon": west + cell * (np.arange(columns) + 0.5),
    }
    values = np.where(values == -9999, np.nan, values)
    return xr.Dataset({HOLDS: (("lat", "lon"), values)}, coords)


DRIVER = Driver(
    name="toy",
    # One file, or many with {year}, {month} or {day} in the uri as one series in time.
    open=partial(open_files, read=read_toy),
    returns="grid",
    is_series=True,
    options=ToyOptions,
    is_lazy=False,
)
register_reader(DRIVER)
