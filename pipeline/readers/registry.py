"""Registry of all readers by driver name, and the check that an entry has what its driver needs.

Each reader is a module of this room, whose `DRIVER` is imported when an entry first uses it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.addresses import is_remote
from pipeline.core.errors import Faults, InputError, bad_input
from pipeline.core.plugins import Registry
from pipeline.core.settings import Frozen, validated
from pipeline.core.system.time_limit import reading
from pipeline.entries.file_series import has_glob
from pipeline.entries.source import Source, SourceVariable
from pipeline.entries.source_grid import OF_FILE
from pipeline.entries.values import Lookup
from pipeline.readers.driver import CommonOptions, Driver, own_options
from pipeline.times.axis import TimeAxis

if TYPE_CHECKING:
    import xarray as xr

DEGREES = "EPSG:4326"
"""CRS of the coordinates of sites whose columns the entry does not name."""
DRIVERS: Registry[Driver] = Registry(
    "driver",
    "stefaland.readers",
    {
        "netcdf": "pipeline.readers.netcdf:DRIVER",
        "grib": "pipeline.readers.grib:DRIVER",
        "zarr": "pipeline.readers.zarr:DRIVER",
        "raster": "pipeline.readers.raster:DRIVER",
        "npz": "pipeline.readers.npz:DRIVER",
        "table": "pipeline.readers.table:DRIVER",
        "stations": "pipeline.readers.stations:DRIVER",
        "vector": "pipeline.readers.vector:DRIVER",
        "units": "pipeline.readers.nhm:UNITS",
        "basins": "pipeline.readers.nhm:BASINS",
        "caravan": "pipeline.readers.caravan:DRIVER",
        "camels_us": "pipeline.readers.camels_us:DRIVER",
        "profiles": "pipeline.readers.profiles:DRIVER",
        "landslides": "pipeline.readers.landslides:DRIVER",
        "ismn": "pipeline.readers.ismn:DRIVER",
    },
)


LEVELS: dict[str, type[Frozen]] = {
    "`transform: {lookup: …, key: …, value: …}` of a variable": Lookup,
    "the settings of a variable": SourceVariable,
    "`time: {…}`": TimeAxis,
    "the entry, beside `options`": Source,
}
"""Parts of an entry that have settings of their own, the innermost first."""


def register_reader(driver: Driver) -> None:
    """Add a reader under its name, as a plugin does; raises `InputError` if the name is in use.

    >>> from pipeline.readers.driver import Driver
    >>> def read_nothing(source: Source) -> xr.Dataset:
    ...     return xr.Dataset()
    >>> register_reader(Driver(name="nothing", open=read_nothing))
    >>> DRIVERS.get("nothing").name
    'nothing'
    """
    DRIVERS.register(driver.name, driver)


def named_driver(name: str, where: str) -> Driver:
    """Return the reader of that name; raises `InputError`, located at `where`, if it is unknown."""
    driver = DRIVERS.get(name, where)
    if not isinstance(driver, Driver):
        raise bad_input(
            where, f'driver "{name}", a {type(driver).__name__}',
            "a pipeline.readers.driver.Driver", "Repair the package or module that adds it.",
        )  # fmt: skip
    return driver


def driver_of(source: Source) -> Driver:
    """Return the reader of a source's files; raises `InputError` if the driver is unknown.

    An entry that is made of others is read like its first part.
    """
    source = source.parts[0]
    return named_driver(source.driver, f'source "{source.name}": driver')


def files_of(source: Source) -> list[Path]:
    """Return the paths of all files of a source, in order; existing or not.

    Those of masks, operands and tables that are looked up come last.
    """
    paths = [path for part in source.parts for path in driver_of(part).files(part)]
    paths += [path for part in source.parts for path in part.companions]
    return list(dict.fromkeys(paths))


def read_files(source: Source, *more: Any) -> Any:
    """Open the files of a source with its reader; `more` are further arguments of `Driver.open`.

    Raises `InputError` for packages that must be installed and files that cannot be read.
    """
    driver, faults = driver_of(source), Faults()
    for module, package in driver.requires.items():
        if importlib.util.find_spec(module) is None:
            faults.add(
                f'source "{source.name}"', f"no module {module}, as the driver {driver.name} needs",
                f"the package {module}", f"Run `pip install '{package}'`.",
            )  # fmt: skip
    faults.raise_if_any()
    with reading(source.address):
        opened = driver.open(source, *more)
    if driver.returns != "grid":
        return opened
    if source.grid is None:
        return _with_cells(opened, source)
    from pipeline.readers.common.named_axes import with_named_axes

    return with_named_axes(opened, source, source.grid)


def _with_cells(ds: xr.Dataset, source: Source) -> xr.Dataset:
    """Return a grid; one whose cells lie along one dimension has the dims (time, cell)."""
    from pipeline.grid.healpix import Healpix
    from pipeline.grid.unstructured import as_cells
    from pipeline.readers.common.dims import time_axis
    from pipeline.readers.common.grid_file import with_grid_file

    ds, where = with_grid_file(ds, source), f'source "{source.name}", {source.files[0]}'
    declared = source.options.get("healpix")
    healpix = validated(Healpix, declared, f"{where}: options.healpix") if declared else None
    cells = as_cells(ds, source.lat, source.lon, healpix, where)
    if cells is None:
        return ds
    time = time_axis(cells, source)
    return cells if time in (None, "time") else cells.rename({time: "time"})


def check_entry(source: Source, where: str, faults: Faults) -> None:
    """Add a fault for each key or option of an entry that its driver needs and does not find."""
    if source.merge:
        _check_parts(source, where, faults)
        return
    try:
        driver = named_driver(source.driver, f"{where}: driver")
    except InputError as error:
        faults.faults += error.faults
        return
    if driver.has_variables and not source.variables:
        faults.add(f"{where}: variables", "none", "at least one variable")
    if not driver.is_series:
        several = [f"{{{key}}} in the uri" for key in source.uri_keys]
        several += ["a list of uris"] if len(source.uris) > 1 else []
        several += ["a glob as uri"] if has_glob(source.address) else []
        if several:
            found = f"{several[0]}, although the driver {driver.name} reads a single file"
            faults.add(where, found, "the uri of one file")
    missing = [key for key in driver.needs if getattr(source, key) is None]
    if missing:
        kind = "a table" if driver.returns == "sites" else "an entry"
        faults.add(
            where, f"{kind} without {' and '.join(missing)}",
            f"these keys, which the driver {driver.name} needs",
        )  # fmt: skip
    if not driver.is_remote and any(map(is_remote, source.uris)):
        found = f"a remote address, although the driver {driver.name} searches a folder"
        faults.add(f"{where}: uri", found, "a folder on disk", "Download the folder as a whole.")
    if source.crs == OF_FILE and driver.returns != "grid":
        faults.add(f"{where}: crs", f'"{OF_FILE}" for the driver {driver.name}',
                   "the CRS of the coordinates, such as EPSG:4326")  # fmt: skip
    if driver.returns == "sites" and "lat" not in driver.needs and source.crs != DEGREES:
        faults.add(f"{where}: crs", f'"{source.crs}" for the driver {driver.name}',
                   "no `crs`: its coordinates are degrees", "Remove it.")  # fmt: skip
    own = own_options(source)
    accepted = own if driver.options is None else {**driver.options.model_fields}
    stray = [key for key in own if key not in accepted]
    hint = _right_level(stray)
    if stray and (hint or not accepted):
        known = ", ".join((*accepted, *CommonOptions.model_fields))
        faults.add(
            f"{where}: options", ", ".join(stray),
            f"none of these: the driver {driver.name} has only {known}", hint,
        )  # fmt: skip
        own = {key: value for key, value in own.items() if key in accepted}
    common = {key: source.options[key] for key in source.options.keys() - own_options(source)}
    with faults.collecting():
        validated(CommonOptions, common, f"{where}: options")
    if driver.options is not None:
        with faults.collecting():
            validated(driver.options, own, f"{where}: options")


def _right_level(keys: Sequence[str]) -> str:
    """Return the hint for options that are settings of other parts of an entry; "" for none."""
    places: dict[str, list[str]] = {}
    for key in keys:
        place = next((text for text, model in LEVELS.items() if key in model.model_fields), None)
        if place:
            places.setdefault(place, []).append(key)
    moves = [f"{' and '.join(names)} to {place}" for place, names in places.items()]
    return f"Move {', '.join(moves)}." if moves else ""


def _check_parts(source: Source, where: str, faults: Faults) -> None:
    """Add a fault for each part of a merged entry that is not a grid."""
    for part in source.parts:
        returns = driver_of(part).returns
        if returns != "grid" and not (returns == "polygons" and part.variables):
            faults.add(f"{where}: merge", f'"{part.name}", a source of {returns}',
                       "sources of grids")  # fmt: skip
