"""Files of GloH2O (MSWEP, MSWX): one time and one variable each, named by the day of the year."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

BOUNDS = (7.0, 45.0, 7.3, 45.2)
FIELD = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
"""Values on a map; one cell has none."""


def make_gloh2o(folder: Path, time: str, name: str, units: str, values: np.ndarray) -> None:
    """Write the file of a day, or of three hours where the folder is `3hourly`."""
    stamp = pd.Timestamp(time)
    ds = xr.Dataset(
        {name: (("time", "lat", "lon"), values[None].astype("f4"), {"units": units})},
        {"time": ("time", [stamp]),
         "lat": ("lat", [45.15, 45.05], {"units": "degrees_north"}),
         "lon": ("lon", [7.05, 7.15, 7.25], {"units": "degrees_east"})},
        {"history": "Created by Hylke Beck"},
    )  # fmt: skip
    encoding = {
        name: {"_FillValue": np.float32(-9999)},
        "time": {"units": "days since 1900-01-01 00:00:00", "dtype": "f8"},
    }
    hour = f".{stamp:%H}" if folder.name == "3hourly" else ""
    folder.mkdir(parents=True, exist_ok=True)
    ds.to_netcdf(folder / f"{stamp:%Y%j}{hour}.nc", encoding=encoding)
