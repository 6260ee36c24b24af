"""indices_of_codes(): the codes of an entry's classes, and those of them that mean missing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.sources.decode import unpacking_of


def indices_of_codes(
    classes: Mapping[str, tuple[int | str, ...]], where: str
) -> dict[int, int]:  # fmt: skip
    """Return the index of the class of each code; raises `InputError` for codes that are texts.

    >>> indices_of_codes({"forest": (1, 2), "water": (17,)}, "cover.tif")
    {1: 0, 2: 0, 17: 1}
    """
    texts = [code for group in classes.values() for code in group if isinstance(code, str)]
    if texts:
        hint = "Only columns of polygons have texts as codes."
        if any(label.lstrip("-").isdigit() for label in classes):
            hint = "Write the label before the code, as in `classes: {forest: 1}`."
        raise bad_input(
            where, f'the code "{texts[0]}" in `classes`', "whole numbers, as in the file", hint
        )
    return {int(code): i for i, group in enumerate(classes.values()) for code in group}


def missing_classes(da: xr.DataArray, source: Source, name: str) -> list[str]:
    """Return the codes of classes that the file or the entry's `nodata` declares as missing."""
    is_other = da.dtype.kind not in "iuf"
    if is_other or not source.classes or "classes" in da.attrs or source.overrides("nodata"):
        return []
    keys = [key for key in ("_FillValue", "missing_value") if key in da.encoding]
    declared = [float(value) for key in keys for value in np.ravel(da.encoding[key])]
    missing = {*unpacking_of(da, source.variables[name], source, name).nodata, *declared}
    return [str(code) for codes in source.classes.values() for code in codes if code in missing]
