"""`Codes`: the stored numbers of a variable that mean missing, single ones and ranges."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AllowInfNan

_Code = Annotated[float, AllowInfNan(True)]
_Codes = _Code | tuple[_Code | tuple[_Code, _Code], ...]


def codes_of(nodata: _Codes | None) -> tuple[float, ...]:
    """Return the single numbers that mean missing.

    >>> codes_of((-9999.0, 254.0, (240.0, 250.0)))
    (-9999.0, 254.0)
    """
    if nodata is None:
        return ()
    if not isinstance(nodata, tuple):
        return (nodata,)
    return tuple(code for code in nodata if not isinstance(code, tuple))


def ranges_of(nodata: _Codes | None) -> tuple[tuple[float, float], ...]:
    """Return the ranges of numbers that mean missing, as (lowest, highest)."""
    if not isinstance(nodata, tuple):
        return ()
    return tuple(code for code in nodata if isinstance(code, tuple))


def _ascending(nodata: _Codes) -> _Codes:
    for low, high in ranges_of(nodata):
        if not low < high:
            raise ValueError(f"the range [{low:g}, {high:g}] of nodata, which does not ascend")
    return nodata


Codes = Annotated[_Codes, AfterValidator(_ascending)]
"""One number, or a list of numbers and of ranges [lowest, highest] with their ends, such as
`[-9999, 254, [240, 250]]`."""
