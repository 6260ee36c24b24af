"""read_source(): the opened files of an entry, with its masks, transforms and expressions applied.

All of them act on single values before anything is aggregated or regridded, and stay lazy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.core.formulas.expressions import Expression
from pipeline.entries.source import Source
from pipeline.entries.source_variable import SourceVariable
from pipeline.entries.values import Lookup, Mask, Operand, Term
from pipeline.readers.common.packing import UNPACKED
from pipeline.readers.registry import read_files
from pipeline.sources.computed.elementwise import elementwise
from pipeline.sources.computed.masks import keeper
from pipeline.sources.computed.operands import (
    DAY_OF_YEAR,
    LATITUDE,
    on_grid_of,
    opened,
    positions,
    with_times_of_all,
)
from pipeline.sources.computed.tally import Tally
from pipeline.sources.computed.transforms import computed, transformed
from pipeline.sources.computed.undeclared import Extremes
from pipeline.sources.decode import Decoding, unpacking_of

Group = tuple[Any, ...]
"""What variables have in common that are read together."""


def read_source(source: Source, tallies: Mapping[str, Tally] | None = None) -> xr.Dataset:
    """Return the opened files under `opened_name` of each variable of the entry; lazy.

    Operands are read from the entry's files or others, which must have the same grid and times.
    What masks remove and lookups do not know is counted in the `tallies` of their variables when it
    is read. Raises `InputError` for files and variables that cannot be read and for operands of
    other grids.
    """
    if not any(entry.is_computed for entry in source.variables.values()):
        ds: xr.Dataset = read_files(source)
        return ds
    datasets = with_times_of_all([opened(group) for group in _groups(source).values()])
    base = datasets[0]
    arrays = {
        group: on_grid_of(base, one) for group, one in zip(_groups(source), datasets, strict=True)
    }
    wanted = {name for entry in source.variables.values() for name in _implicit(entry)}
    files = _Files(source, arrays, positions(base, wanted))
    found = {
        source.opened_name(name): files.values(name, (tallies or {}).get(name))
        for name in source.variables
    }
    return base.ds.drop_vars(list(base.ds.data_vars)).assign(found)


def _own(entry: SourceVariable) -> Group:
    """Return the group of an entry's own variable, which is read with the entry's settings."""
    return "own", entry.as_stored or isinstance(entry.transform, Lookup)


def _beside(operand: Operand) -> Group:
    """Return the group of a mask or of an operand of an expression."""
    flag = isinstance(operand, Mask) and operand.is_flag
    return operand.uri, operand.driver, flag, getattr(operand, "nodata", None)


def _operands(entry: SourceVariable) -> dict[str, Term]:
    """Return the operands of an entry's expression by their names in it, without `_implicit`."""
    names = Expression(entry.expression).names if entry.expression else ()
    return {
        name: entry.operands.get(name, Term(name=name))
        for name in names
        if name in entry.operands or name not in (LATITUDE, DAY_OF_YEAR)
    }


def _implicit(entry: SourceVariable) -> set[str]:
    """Return which of latitude and day of the year an expression uses."""
    names = Expression(entry.expression).names if entry.expression else ()
    return {name for name in names if name not in _operands(entry)}


def _groups(source: Source) -> dict[Group, Source]:
    """Return an entry for each set of variables that are read together, the entry's own first."""
    groups: dict[Group, Source] = {}
    variables: dict[Group, dict[str, SourceVariable]] = {}
    for name, entry in source.variables.items():
        if not entry.expression:
            group = _own(entry)
            groups[group] = source
            stored = entry.model_copy(update={"as_stored": group[1]})
            variables.setdefault(group, {})[name] = stored
    for entry in source.variables.values():
        for operand in (*_operands(entry).values(), *entry.mask):
            group = _beside(operand)
            groups[group] = source.beside(operand)
            variables.setdefault(group, {})[operand.name] = _stored(operand)
    return {
        group: one.model_copy(update={"variables": variables[group]})
        for group, one in groups.items()
    }


def _stored(operand: Operand) -> SourceVariable:
    """Return the variable of an operand as it is read."""
    flag = isinstance(operand, Mask) and operand.is_flag
    nodata = getattr(operand, "nodata", None)
    return SourceVariable(name=operand.name, as_stored=flag, nodata=nodata)


@dataclass(frozen=True)
class _Files:
    """The variables of the files of an entry, all on its grid."""

    source: Source
    arrays: Mapping[Group, Mapping[str, xr.DataArray]]
    """Variables of each group, by their names in the files."""
    positions: Mapping[str, xr.DataArray]

    def values(self, name: str, tally: Tally | None) -> xr.Variable:
        """Return the values of a canonical variable: as stored, computed, and masked."""
        entry = self.source.variables[name]
        where = f'source "{self.source.name}", {self.source.files[0]}: {name}'
        if entry.expression:
            found = self._expression(entry, tally, where)
        else:
            da = self.arrays[_own(entry)][entry.name]
            if entry.transform is None:
                found = da
            else:
                found = transformed(da, entry, self.source, tally, where)
        return self._masked(found, entry, tally, where) if entry.mask else found.variable

    def _operand(self, operand: Operand, where: str) -> tuple[xr.DataArray, Decoding]:
        """Return a variable beside that of the entry, and the conversion to its values."""
        da = self.arrays[_beside(operand)][operand.name]
        plain = self.source.model_copy(update={"classes": {}})
        return da, unpacking_of(da, _stored(operand), plain, where)

    def _expression(
        self, entry: SourceVariable, tally: Tally | None, where: str
    ) -> xr.DataArray:  # fmt: skip
        expression = Expression(str(entry.expression))
        operands, units, unpacking = {}, {}, {}
        for name, term in _operands(entry).items():
            operands[name], unpacking[name] = self._operand(term, where)
            units[name] = term.units or unpacking[name].units
        for name in _implicit(entry):
            operands[name] = self.positions[name]
            units[name] = operands[name].attrs["units"]
            unpacking[name] = Decoding(where=where)

        extremes = tally.operands if tally is not None else {}
        for name in _operands(entry):
            found_in = operands[name].encoding if UNPACKED in operands[name].encoding else {}
            extremes[name] = Extremes()
            extremes[name].describe(found_in, operands[name].dtype)

        def compute(*arrays: np.ndarray) -> np.ndarray:
            values = {
                name: unpacking[name].values(array, np.float64)
                for name, array in zip(operands, arrays, strict=True)
            }
            found = expression.value(values, units, where)
            if tally is not None:
                tally.add_undefined(found, values.values())
                for name in extremes:
                    extremes[name].add(values[name])
            return found

        first = next(iter(operands.values()))
        mapping = {k: v for k, v in first.attrs.items() if k == "grid_mapping"}
        return computed(list(operands.values()), compute, np.float64, mapping)

    def _masked(
        self, da: xr.DataArray, entry: SourceVariable, tally: Tally | None, where: str
    ) -> xr.Variable:
        rules, flags = [], []
        for mask in entry.mask:
            flag, unpacking = self._operand(mask, where)
            if not {*flag.dims} <= {*da.dims}:
                raise bad_input(
                    f"{where}: mask",
                    f"{mask.name} with dimensions {', '.join(map(str, flag.dims))}",
                    f"some of {', '.join(map(str, da.dims))}, those of the variable",
                )  # fmt: skip
            rules.append((keeper(mask, flag, f"{where}: mask"), mask.is_flag, unpacking))
            flags.append(flag)
        valid = unpacking_of(da, entry, self.source, where)

        def compute(values: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
            kept = np.ones((1,) * values.ndim, bool)
            for (rule, is_flag, unpacking), array in zip(rules, arrays, strict=True):
                kept = kept & rule(array if is_flag else unpacking.values(array, np.float64))
            if tally is not None:
                tally.add_mask(valid.values(values), kept)
            return np.where(kept, values, np.nan)

        wide = np.float64 if da.dtype.itemsize > 2 else np.float32
        dtype = da.dtype if da.dtype.kind == "f" else wide
        # Neither true nor false means missing, which numbers made of them could not tell.
        attrs = {k: v for k, v in da.attrs.items() if da.dtype != bool or k != "_FillValue"}
        return elementwise(
            [da.variable, *(flag.variable for flag in flags)], compute, dtype, attrs, da.encoding
        )
