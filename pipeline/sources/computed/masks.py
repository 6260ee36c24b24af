"""keeper(): the rule of a mask as a function of the flag's stored numbers, or of a quantity.

Flags are those of the CF conventions, section 3.5: numbers, bits, and their meanings by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input, nearest_name
from pipeline.entries.values import Mask
from pipeline.readers.common.packing import stored_value

Rule = Callable[[np.ndarray], np.ndarray]
Field = tuple[int, tuple[int, ...]]
"""A mask of bits, and the values that `flag & mask` may have."""


def keeper(mask: Mask, flag: xr.DataArray, where: str) -> Rule:
    """Return the function of an array of the mask's variable that is True where values are used.

    A flag's array has the stored numbers of `flag`, whose attributes give names and missing values;
    that of a quantity has its values. Raises `InputError` for names that the file does not have.
    """
    if mask.is_quantity:
        low = -np.inf if mask.above is None else mask.above
        high = np.inf if mask.below is None else mask.below
        return lambda values: (values > low) & (values < high)
    if flag.dtype.kind in "OSUT":
        return _texts({str(text) for text in mask.keep})
    numbers = [float(value) for value in mask.keep if not isinstance(value, str)]
    named = [value for value in mask.keep if isinstance(value, str)]
    missing = _missing(flag)
    if mask.keep:
        fields = [_meaning(name, flag, where) for name in named]
        return _kept(numbers, fields, missing)
    largest = 8 * flag.dtype.itemsize if flag.dtype.kind in "iub" else 63
    for bits in mask.groups:
        if bits.first + bits.count > largest:
            raise bad_input(where, f"{flag.name} of {largest} bits",
                            f"bit {bits.first + bits.count - 1}")  # fmt: skip
    groups = [((1 << bits.count) - 1 << bits.first,
               tuple(value << bits.first for value in bits.values))
              for bits in mask.groups]  # fmt: skip
    groups += [_named_bits(name, wanted, flag, where)
               for name, wanted in mask.named_bits.items()]  # fmt: skip
    return _bits(groups, missing)


def _texts(kept: set[str]) -> Rule:
    """Return the rule for flags that are texts; an empty field is the text ""."""
    names = np.array(sorted(kept))

    def rule(flags: np.ndarray) -> np.ndarray:
        filled = np.where(flags == flags, flags, "") if flags.dtype.kind == "O" else flags
        if filled.dtype.kind == "S":
            filled = np.char.decode(filled, "utf-8")
        return np.isin(np.char.strip(filled.astype(str)), names)

    return rule


def _kept(numbers: list[float], fields: list[Field | float], missing: np.ndarray) -> Rule:
    """Return the rule that a flag is one of `numbers`, or is not missing and in one of `fields`."""
    equal = np.array([*numbers, *(field for field in fields if isinstance(field, float))])
    bits = [field for field in fields if not isinstance(field, float)]

    def rule(flags: np.ndarray) -> np.ndarray:
        kept = np.isin(flags, equal)
        for field in bits:
            kept |= _bits([field], missing)(flags)
        return kept

    return rule


def _bits(fields: list[Field], missing: np.ndarray) -> Rule:
    """Return the rule that a flag is not missing and has one of the values of each field."""

    def rule(flags: np.ndarray) -> np.ndarray:
        valid = (flags == flags) & ~np.isin(flags, missing)
        flags = flags.astype(np.uint8) if flags.dtype == bool else flags
        if flags.dtype.kind == "f":
            flags = np.where(valid, flags, 0).astype(np.int64)
        # The highest bit of signed numbers is a bit like the others.
        plain = flags.view(flags.dtype.str.replace("i", "u"))
        for mask, values in fields:
            field = plain & plain.dtype.type(mask & np.iinfo(plain.dtype).max)
            valid &= np.isin(field, values)
        return valid

    return rule


def _missing(flag: xr.DataArray) -> np.ndarray:
    """Return the stored numbers that the file declares as missing; neither true nor false is."""
    if flag.dtype == bool:
        return np.array([])
    attrs = {**flag.encoding, **flag.attrs}
    declared = [attrs[key] for key in ("_FillValue", "missing_value") if key in attrs]
    held = (stored_value(float(value), flag.dtype) for one in declared for value in np.ravel(one))
    return np.array([value for value in held if value is not None and value == value])


def _meanings(flag: xr.DataArray, where: str) -> list[str]:
    names = re.split(r"[\s,]+", str(flag.attrs.get("flag_meanings", "")).strip())
    if names == [""]:
        raise bad_input(
            where, f"no flag_meanings of {flag.name}", "the names that the mask lists",
            "List the numbers or the bits instead, or quote texts as they are in the file.",
        )  # fmt: skip
    return names


def _numbers(attrs: Mapping[Any, Any], key: str) -> list[int]:
    """Return the whole numbers of an attribute, which some files have as a text."""
    value = attrs.get(key, ())
    if isinstance(value, str):
        value = [float(text) for text in re.split(r"[\s,]+", value.strip("[] "))]
    return [int(number) for number in np.ravel(value)]


def _meaning(name: str, flag: xr.DataArray, where: str) -> Field | float:
    """Return the value of a flag of that name, or the field of bits and their value."""
    names, values = _meanings(flag, where), _numbers(flag.attrs, "flag_values")
    index = _index(name, names, values or _numbers(flag.attrs, "flag_masks"), flag, where)
    if not values:
        raise bad_input(
            where, f"{flag.name} of independent bits (flag_masks), of which {name} is one",
            "`bits`, with the value that each bit must have",
            f"Such as `bits: {{{name}: 0}}`, or `keep: [0]` where no bit may be set.",
        )  # fmt: skip
    masks = _numbers(flag.attrs, "flag_masks")
    return (masks[index], (values[index],)) if masks else float(values[index])


def _named_bits(name: str, wanted: tuple[int, ...], flag: xr.DataArray, where: str) -> Field:
    """Return the bits of that name and the values that they may have; 1 stands for their value."""
    names, masks = _meanings(flag, where), _numbers(flag.attrs, "flag_masks")
    mask = masks[_index(name, names, masks, flag, where)]
    mask = mask if mask >= 0 else mask + (1 << 8 * flag.dtype.itemsize)
    lowest = mask & -mask
    return mask, tuple(value * lowest for value in wanted)


def _index(
    name: str, names: list[str], values: list[int], flag: xr.DataArray, where: str
) -> int:  # fmt: skip
    if name not in names or len(values) != len(names):
        shown = (
            f"{len(names)} meanings of {flag.name} ({', '.join(names)}) and {len(values)} values"
        )
        hint = nearest_name(name, names) or "List the numbers or the bits instead."
        raise bad_input(where, shown, f'"{name}" among them', hint)
    return names.index(name)
