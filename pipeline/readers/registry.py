"""All readers by the name that catalog entries know them by, and what each needs of an entry.

Upstream: one file for each reader, whose `DRIVER` is imported when a catalog first names it.
Downstream: the catalog checks entries, `sources` opens them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from pipeline.core.errors import Faults, InputError, bad_input
from pipeline.core.plugins import Registry
from pipeline.core.settings import validated
from pipeline.entries.file_series import pattern_keys
from pipeline.entries.source import Source
from pipeline.readers.driver import Driver

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


def register_reader(driver: Driver) -> None:
    """Add a reader under its name, as a plugin does; `InputError` where another has the name."""
    DRIVERS.register(driver.name, driver)


def named_driver(name: str, where: str) -> Driver:
    """The reader of that name; `InputError`, placed at `where`, for an unknown one."""
    driver = DRIVERS.get(name, where)
    if not isinstance(driver, Driver):
        raise bad_input(
            where, f'driver "{name}", a {type(driver).__name__}',
            "a pipeline.readers.driver.Driver", "Repair the package or module that adds it.",
        )  # fmt: skip
    return driver


def driver_of(source: Source) -> Driver:
    """The reader of a source's files; `InputError` for an unknown one."""
    return named_driver(source.driver, f'source "{source.name}": driver')


def files_of(source: Source) -> list[Path]:
    """Every file of a source, in order; existing or not."""
    return driver_of(source).files(source)


def read_files(source: Source, *more: Any) -> Any:
    """What the source's reader makes of its files, as `Driver.open` says; `more` goes to it.

    `InputError` for what must be installed first, and for files that cannot be read.
    """
    driver, faults = driver_of(source), Faults()
    for module, package in driver.requires.items():
        if importlib.util.find_spec(module) is None:
            faults.add(
                f'source "{source.name}"', f"no module {module}, as the driver {driver.name} needs",
                f"the package {module}", f"Run `pip install '{package}'`.",
            )  # fmt: skip
    faults.raise_if_any()
    return driver.open(source, *more)


def check_entry(source: Source, where: str, faults: Faults) -> None:
    """Add a fault for each thing that the driver needs of an entry and does not find there."""
    try:
        driver = named_driver(source.driver, f"{where}: driver")
    except InputError as error:
        faults.faults += error.faults
        return
    if driver.has_variables and not source.variables:
        faults.add(f"{where}: variables", "none", "at least one variable")
    keys = pattern_keys(source.uri)
    if keys and not driver.is_series:
        found = f"{{{keys[0]}}} in the uri of the driver {driver.name}: one file alone"
        faults.add(where, found, "an entry that agrees with itself")
    missing = [key for key in driver.needs if getattr(source, key) is None]
    if missing:
        kind = "a table" if driver.gives == "sites" else "an entry"
        faults.add(
            where, f"{kind} without {' and '.join(missing)}",
            f"these keys, which the driver {driver.name} needs",
        )  # fmt: skip
    if driver.options is not None:
        with faults.collecting():
            validated(driver.options, source.options, f"{where}: options")
