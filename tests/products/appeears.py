"""NetCDF files as AppEEARS delivers them: times called julian, packed numbers, a grid mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

GEOGRAPHIC = {
    "grid_mapping_name": "latitude_longitude", "horizontal_datum_name": "WGS84",
    "semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563,
    "longitude_of_prime_meridian": 0.0, "_CoordinateAxisTypes": "GeoX GeoY",
}  # fmt: skip
SINUSOIDAL = {
    "grid_mapping_name": "sinusoidal", "_CoordinateAxisTypes": "GeoX GeoY",
    "semi_major_axis": 6371007.181, "semi_minor_axis": 6371007.181,
    "longitude_of_central_meridian": 0.0, "longitude_of_projection_origin": 0.0,
    "false_easting": 0.0, "false_northing": 0.0,
}  # fmt: skip


def write_netcdf(
    path: Path,
    days: list[int],
    axes: dict[str, np.ndarray],
    variables: dict[str, tuple[np.ndarray, dict[str, Any]]],
) -> None:
    """Write variables (time, y, x) as stored, with their attributes; `days` are since 2000-01-01.

    `axes` are the centres of rows and of columns under their names, in metres if these are ydim
    and xdim.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    native = "xdim" in axes
    with netCDF4.Dataset(path, "w") as file:
        file.createVariable("crs", "i1").setncatts(SINUSOIDAL if native else GEOGRAPHIC)
        file.createDimension("time", len(days))
        time = file.createVariable("time", "i4", ("time",))
        time.setncatts({"units": "days since 2000-01-01 00:00:00", "calendar": "julian",
                        "axis": "T", "standard_name": "time"})  # fmt: skip
        time[:] = days
        for (name, values), axis in zip(axes.items(), "YX", strict=True):
            file.createDimension(name, values.size)
            kind = {"Y": ("latitude", "degrees_north"), "X": ("longitude", "degrees_east")}[axis]
            if native:
                kind = (f"projection_{axis.lower()}_coordinate", "m")
            coordinate = file.createVariable(name, "f8", (name,))
            coordinate.setncatts({"standard_name": kind[0], "units": kind[1], "axis": axis})
            coordinate[:] = values
        for name, (values, attrs) in variables.items():
            own = {key: value for key, value in attrs.items() if key != "_FillValue"}
            variable = file.createVariable(name, values.dtype, ("time", *axes),
                                           fill_value=attrs["_FillValue"])  # fmt: skip
            variable.set_auto_maskandscale(False)
            variable.setncatts({"grid_mapping": "crs", "coordinates": " ".join(("time", *axes)),
                                **own})  # fmt: skip
            variable[:] = values
