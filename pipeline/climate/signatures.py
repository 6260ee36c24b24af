"""The climate signatures: their names, the forcings that each needs, and their variables.

They follow Addor et al. 2017 (doi 10.5194/hess-21-5293-2017), table 2, except that the season of
extreme precipitation, a class, is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.entries.variable import Variable

PREFIX = "climate_"
PRECIPITATION = "precipitation"
TEMPERATURES = (("air_temperature",), ("air_temperature_max", "air_temperature_min"))
"""Variables whose mean is the air temperature of a day, the best choice first."""
EVAPOTRANSPIRATIONS = ("potential_evapotranspiration", "reference_evapotranspiration")
METEOROLOGY = (PRECIPITATION, "air_temperature", "air_temperature_max", "air_temperature_min",
               *EVAPOTRANSPIRATIONS)  # fmt: skip
"""Variables from which signatures are derived even where they are no forcings of the model."""
GROUP = "climate"
SINCE = "0.3.0"

Step = Literal["days", "months", "others"]
Needs = Literal["precipitation", "temperature", "evapotranspiration"]

SIGNATURES: Mapping[str, tuple[tuple[Needs, ...], bool]] = {
    "climate_aridity": (("precipitation", "evapotranspiration"), False),
    "climate_precipitation_seasonality": (("precipitation", "temperature"), False),
    "climate_snow_fraction": (("precipitation", "temperature"), True),
    "climate_high_precipitation_frequency": (("precipitation",), True),
    "climate_high_precipitation_duration": (("precipitation",), True),
    "climate_low_precipitation_frequency": (("precipitation",), True),
    "climate_low_precipitation_duration": (("precipitation",), True),
}
"""Signatures of several forcings or of days: what each needs, and whether it needs days."""


@dataclass(frozen=True)
class ClimateSettings:
    """The climate statics of a cube: from which variables, over which days, and which of them."""

    forcings: tuple[str, ...]
    """Variables that may be used, where the cube has them."""
    variables: Mapping[str, Variable]
    """Definitions of all signatures of these forcings (`climate_variables`)."""
    period: tuple[str, str] | None = None
    """First and last day (inclusive ISO dates) that are used; None for the whole time axis."""
    names: tuple[str, ...] | None = None
    """Signatures that are wanted; None for all that the forcings and time steps allow."""


def mean_name(forcing: str) -> str:
    """Return the name of the mean of a forcing.

    >>> mean_name("precipitation")
    'climate_precipitation_mean'
    """
    return f"{PREFIX}{forcing}_mean"


def amplitude_name(forcing: str) -> str:
    """Return the name of the amplitude of the annual cycle of a forcing."""
    return f"{PREFIX}{forcing}_amplitude"


def climate_variables(
    forcings: Sequence[str], variables: Mapping[str, Variable]
) -> dict[str, Variable]:
    """Return the definitions of all signatures of these forcings, by name.

    Those of `SIGNATURES` are in `variables`; means and amplitudes follow from their forcing, unless
    `variables` defines them too. Forcings without a definition have none.
    """
    found = {name: variables[name] for name in SIGNATURES if name in variables}
    for forcing in forcings:
        if forcing in variables:
            made = {
                mean_name(forcing): _mean(variables[forcing]),
                **({} if forcing == PRECIPITATION
                   else {amplitude_name(forcing): _amplitude(variables[forcing])}),
            }  # fmt: skip
            found |= {name: variables.get(name, variable) for name, variable in made.items()}
    return found


def _mean(forcing: Variable) -> Variable:
    return Variable(
        long_name=f"long-term mean of {forcing.long_name}", units=forcing.units,
        valid_range=forcing.valid_range, group=GROUP, since=SINCE,
    )  # fmt: skip


def _amplitude(forcing: Variable) -> Variable:
    low, high = forcing.valid_range or (-np.inf, np.inf)
    return Variable(
        long_name=f"amplitude of the annual cycle of {forcing.long_name}",
        # Differences of temperatures: in K no reader takes 10 for a temperature of 10 degC.
        units="K" if forcing.units == "degC" else forcing.units,
        valid_range=(0.0, high - low), group=GROUP, since=SINCE,
    )  # fmt: skip


def operands(known: Collection[str]) -> dict[Needs, tuple[str, ...]]:
    """Return the variables whose mean is each operand of `SIGNATURES`, as far as they are known.

    >>> operands({"precipitation", "air_temperature_min", "air_temperature_max"})["temperature"]
    ('air_temperature_max', 'air_temperature_min')
    """
    choices: dict[Needs, Sequence[tuple[str, ...]]] = {
        "precipitation": ((PRECIPITATION,),),
        "temperature": TEMPERATURES,
        "evapotranspiration": [(name,) for name in EVAPOTRANSPIRATIONS],
    }
    found = {
        need: next((names for names in options if {*names} <= {*known}), None)
        for need, options in choices.items()
    }
    return {need: names for need, names in found.items() if names is not None}


def step_of(time: np.ndarray, where: str = "climate statics") -> Step:
    """Return the kind of time steps; `InputError` for steps of more than a month."""
    days = np.median(np.diff(time.astype("datetime64[s]")).astype(float)) / 86400 if (
        time.size > 1
    ) else np.inf  # fmt: skip
    if days > 31:
        raise bad_input(
            where, f"{time.size} times of more than a month each", "daily or monthly time steps"
        )
    return "days" if days == 1 else "months" if days >= 28 else "others"


def derivable(settings: ClimateSettings, known: Collection[str]) -> tuple[str, ...]:
    """Return the signatures that variables allow whose steps are days, in order of definition."""
    used = {name for name in settings.forcings if name in known}
    at_hand = {*operands(used)}
    cycles = {name for forcing in used for name in (mean_name(forcing), amplitude_name(forcing))}
    allowed = cycles | {name for name, (needs, _) in SIGNATURES.items() if {*needs} <= at_hand}
    return tuple(name for name in settings.variables if name in allowed)


def signature_names(
    settings: ClimateSettings, known: Collection[str], step: Step, where: str = "cube"
) -> tuple[str, ...]:
    """Return the signatures of a cube with the variables `known` (those with a time axis).

    Raises `InputError` for each wanted one that cannot be derived, and where none can.
    """
    possible = derivable(settings, known)
    if settings.names is None:
        chosen = tuple(name for name in possible if step == "days" or not needs_days(name))
        if not chosen:
            raise bad_input(
                f"inputs.climate_statics, {where}", "no forcing of which a signature is known",
                f"one of {', '.join(settings.forcings)}",
            )  # fmt: skip
        return chosen
    faults = Faults()
    for name in settings.names:
        key = f"inputs.climate_statics, {where}: {name}"
        if name not in settings.variables:
            faults.add(key, "no such signature", f"one of {', '.join(settings.variables)}",
                       nearest_name(name, settings.variables))  # fmt: skip
        elif name not in possible:
            faults.add(key, f"forcings {', '.join(sorted({*known} & {*settings.forcings}))}",
                       f"{needed_text(name)}, from which it is derived")  # fmt: skip
        elif step != "days" and needs_days(name):
            faults.add(key, "time steps other than days", "daily time steps",
                       "Remove it from `inputs.climate_statics`.")  # fmt: skip
    faults.raise_if_any()
    return settings.names


def needs_days(name: str) -> bool:
    """Return whether a signature is defined for daily steps alone."""
    return name in SIGNATURES and SIGNATURES[name][1]


def needed_text(name: str) -> str:
    """Return the forcings that a signature needs, as words of a message."""
    if name not in SIGNATURES:
        return name.removeprefix(PREFIX).rsplit("_", 1)[0]
    words = {
        "precipitation": PRECIPITATION,
        "temperature": " or ".join(" with ".join(names) for names in TEMPERATURES),
        "evapotranspiration": " or ".join(EVAPOTRANSPIRATIONS),
    }
    return " and ".join(words[need] for need in SIGNATURES[name][0])
