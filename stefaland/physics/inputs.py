"""Names of the variables that HBV reads and predicts, found among those of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Faults, bad_input, listed, nearest_name

PRECIPITATION = "precipitation"
TEMPERATURE, EXTREMES = "air_temperature", ("air_temperature_max", "air_temperature_min")
PET = "potential_evapotranspiration"
STREAMFLOW = "streamflow"


@dataclass(frozen=True)
class InputColumns:
    """Columns of the forcings of HBV among all forcings."""

    precipitation: int
    temperature: tuple[int, ...]
    """Columns whose mean is the air temperature."""
    pet: int | None
    """Column of potential evapotranspiration; None where it is computed from temperature."""


def input_columns(
    forcings: Sequence[str], targets: Sequence[str] = (STREAMFLOW,), where: str = "HBV"
) -> InputColumns:
    """Columns of precipitation, air temperature and PET among the forcings.

    The mean of the daily maximum and minimum may replace the air temperature; PET may be absent.
    Raises `InputError` that names every forcing that is missing, and for other targets than
    streamflow.

    >>> input_columns(["air_temperature", "precipitation"])
    InputColumns(precipitation=1, temperature=(0,), pet=None)
    """
    faults, names = Faults(), list(forcings)
    if PRECIPITATION not in names:
        faults.add(where, f"the forcings {listed(names)}", f"{PRECIPITATION} (mm/day) among them",
                   nearest_name(PRECIPITATION, names))  # fmt: skip
    mean = [TEMPERATURE] if TEMPERATURE in names else EXTREMES
    if not set(mean) <= set(names):
        faults.add(where, f"the forcings {listed(names)}",
                   f"{TEMPERATURE}, or {' and '.join(EXTREMES)} (degC), among them",
                   nearest_name(TEMPERATURE, names))  # fmt: skip
    if tuple(targets) != (STREAMFLOW,):
        faults.add(where, f"target {', '.join(targets)}", f"{STREAMFLOW} (mm/day) alone",
                   "Set finetune.head to gaussian, and leave out the baseline hbv.")  # fmt: skip
    faults.raise_if_any()
    return InputColumns(
        names.index(PRECIPITATION),
        tuple(names.index(name) for name in mean),
        names.index(PET) if PET in names else None,
    )


def check_visible(hidden: Sequence[str], where: str = "finetune.head: hbv") -> None:
    """Raise `InputError` for `hidden` forcings that HBV would read: it needs their values."""
    read = [name for name in (PRECIPITATION, TEMPERATURE, *EXTREMES, PET) if name in hidden]
    if read:
        raise bad_input(
            where, f"forcings of the encoder that the run lacks, {listed(read)}",
            "values of all forcings of HBV that the encoder knows",
            "Add them to inputs.forcings, use the baseline hbv, or another head.",
        )  # fmt: skip


def check_daily(time: NDArray[np.datetime64], where: str = "HBV") -> None:
    """Raise `InputError` for times [T] with other steps than a day."""
    faults, day = Faults(), np.timedelta64(1, "D")
    if len(time) > 1 and time[1] - time[0] != day:
        hours = (time[1] - time[0]) / np.timedelta64(1, "h")
        faults.add(where, f"time steps of {hours:g} hours", "daily time steps")
    faults.raise_if_any()
