"""Canonical variables of names, standard names and units in files, and units of silent files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.core.notation.unit_notation import UnknownUnitsError
from pipeline.core.safe_yaml import read_yaml
from pipeline.core.units import conversion
from pipeline.entries.variable import Variable
from pipeline.sources.computed.undeclared import SIZES

OTHER_UNITS = {
    "1": ("1", "%", "g/kg"), "%": ("%", "1"), "m3 m-3": ("m3 m-3", "%"),
    "degC": ("degC", "K"), "g cm-3": ("g cm-3", "kg m-3", "cg cm-3"), "Pa": ("Pa", "hPa"),
    "kg kg-1": ("kg kg-1", "g/kg"), "g kg-1": ("g kg-1", "dg/kg", "%"), "m": ("m",),
}  # fmt: skip
"""Units in which files are common that state none, by those of the canonical variable; files of
others are in too many."""
MOST_WORDS = 3
"""Words at the beginning of a file's name that may name its variable."""
EXTREME_WORDS = {
    "_max": {"max", "maximum", "tmax", "tasmax", "tx"},
    "_min": {"min", "minimum", "tmin", "tasmin", "tn"},
}
"""Words in the names of files and folders that say that values are extremes of days."""
EXTREMES = {"maximum": "_max", "minimum": "_min"}


@lru_cache(maxsize=1)
def usual_names() -> Mapping[str, str]:
    """Return the canonical variable of each usual name, in lower case."""
    listed = read_yaml(Path(__file__).with_name("names.yml"), "names by variable")
    return {str(name).lower(): variable for variable, names in listed.items() for name in names}


def known_variable(
    name: str,
    variables: Mapping[str, Variable],
    *,
    standard_name: str = "",
    units: str = "",
    method: str | None = None,
) -> str | None:
    """Return the canonical variable of a name in a file; None where nothing is known.

    The `units` of the file, if it states any, must be convertible to those of the variable. Daily
    extremes (`method` maximum or minimum) are variables of their own.
    """
    lowered = name.lower().strip()
    found = [name] if name in variables else [usual_names().get(lowered, "")]
    found += [key for key, variable in variables.items()
              if standard_name and variable.standard_name == standard_name]  # fmt: skip
    for key in found:
        if key in variables and fits_units(units, variables[key].units):
            extreme = key + EXTREMES.get(method or "", "")
            return extreme if extreme in variables else key
    return None


def of_file_name(stem: str, variables: Mapping[str, Variable]) -> str | None:
    """Return the canonical variable that the words of a file's name begin with or contain."""
    words = [word for word in re.split(r"[\W_]+", stem.lower()) if word]
    runs = [
        words[first : first + count]
        for count in range(MOST_WORDS, 0, -1)
        for first in range(len(words) - count + 1)
    ]
    for run in runs:
        key = usual_names().get("_".join(run))
        if key in variables and len("".join(run)) > 1:
            return key
    return None


def fits_units(found: str, wanted: str) -> bool:
    """Whether units of a file can be those of a variable; those that are silent can."""
    if not found.strip():
        return True
    try:
        conversion(found, wanted)
    except UnknownUnitsError:
        return True
    except ValueError:
        return False
    return True


def extreme_of(key: str | None, path: Path, variables: Mapping[str, Variable]) -> str | None:
    """Return the variable of daily extremes where the file or its folder is called so."""
    named = of_file_name(path.stem, variables)
    if key is not None and named in (f"{key}_max", f"{key}_min"):
        return named
    words = {word for part in path.parts[-3:] for word in re.split(r"[\W_]+", part.lower())}
    for extreme, names in EXTREME_WORDS.items():
        if key is not None and f"{key}{extreme}" in variables and words & names:
            return f"{key}{extreme}"
    return key


def unique_units(variable: Variable, values: np.ndarray) -> tuple[str | None, tuple[str, ...]]:
    """Return the one usual unit in which all values are possible for a variable, and those tried.

    None where several are, where none is, and for rates, whose values may be amounts of any step.
    Numbers that files use for missing values must not decide: without them it is the same.
    """
    tried: Sequence[str] = OTHER_UNITS.get(variable.units, ())
    values = values[np.isfinite(values)].astype(float)
    if not tried or not values.size:
        return None, tuple(tried) or (variable.units,)
    plain = values[~np.isin(np.abs(values), SIZES)]
    fits = [
        {units for units in tried if part.size and _possible(variable, units, part)}
        for part in (values, plain)
    ]
    found = fits[0] if fits[0] == fits[1] else set()
    return (found.pop() if len(found) == 1 else None), tuple(tried)


def _possible(variable: Variable, units: str, values: np.ndarray) -> bool:
    try:
        way = conversion(units, variable.units)
    except ValueError:
        return False
    low, high = variable.valid_range or (-np.inf, np.inf)
    least, most = variable.plausible_mean or (low, high)
    found = values * way.factor + way.offset
    return bool(found.min() >= low and found.max() <= high and least <= found.mean() <= most)
