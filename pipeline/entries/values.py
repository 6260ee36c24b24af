"""How the values of a variable come of stored ones: masks, transforms, expressions, lookups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_serializer, field_validator, model_validator

from pipeline.core.addresses import public_uri
from pipeline.core.formulas.expressions import Expression
from pipeline.core.settings import Frozen, later
from pipeline.entries.nodata import Codes

PACKING: dict[str, Any] = {"scale": 1.0, "offset": 0.0, "nodata": None, "above_is_missing": None}
"""Settings of stored numbers and the values of each that change nothing."""
POSITIONS = ("lat", "doy")
"""Names in expressions of each cell's latitude in degrees, and of each step's day of the year."""
_BITS = re.compile(r"(\d+)(?:-(\d+))?")


class Operand(Frozen):
    """A variable beside that of an entry: in the same files, or in others on the same grid."""

    name: str
    """Name in its files, such as `flag`, `band_2` or `group/flag`."""
    uri: str | tuple[str, ...] | None = None
    """Address of its files, with the keys of the entry's `uri`; by default the entry's files."""
    driver: str | None = None
    """Reader of its files, by default that of the entry."""

    @field_serializer("uri")
    def _public(self, uri: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if uri is None:
            return None
        return public_uri(uri) if isinstance(uri, str) else tuple(map(public_uri, uri))


class Term(Operand):
    """A variable that an expression uses under another name, or from other files."""

    units: str | None = None
    """Units of its values, by default those that its file declares."""
    nodata: Codes | None = None
    """Stored numbers that mean missing, if the file does not declare them."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, term: Any) -> Any:
        return {"name": term} if isinstance(term, str) else term


MOST_BITS = 64


class Bits(Frozen):
    """Some neighbouring bits of a flag and the numbers that they may be."""

    first: int
    count: int
    values: tuple[int, ...]


class Mask(Operand):
    """A quality flag or quantity that decides which values are used; the others become missing.

    Flags (`keep`, `bits`) are compared as stored, without scale and offset; the values of a
    quantity (`above`, `below`) have those of its file. Missing flags keep nothing, except that a
    number or text listed in `keep` is kept even if its file declares it as missing.

    >>> Mask(name="qa", bits={0: 0, "2-3": [0, 1]}).groups
    (Bits(first=0, count=1, values=(0,)), Bits(first=2, count=2, values=(0, 1)))
    """

    keep: tuple[float | str, ...] = ()
    """Values of the flag that are used: numbers, texts, or names in the file's `flag_meanings`."""
    bits: dict[int | str, int | tuple[int, ...]] = Field(default_factory=dict)
    """Number of a bit, or of several as in "2-3", or the name of one in `flag_meanings` → the value
    or values that it must have; bit 0 is the lowest."""
    above: float | None = None
    """Values are used where the variable is greater than this."""
    below: float | None = None
    """Values are used where the variable is less than this."""

    @field_validator("keep", mode="before")
    @classmethod
    def _listed(cls, keep: Any) -> Any:
        return keep if isinstance(keep, list | tuple) else (keep,)

    @model_validator(mode="after")
    def _has_one_rule(self) -> Mask:
        if self.is_flag == self.is_quantity or (self.keep and self.bits):
            raise ValueError(
                "a mask without exactly one of `keep`, `bits` and the limits `above` and `below`;"
                " several masks are a list, of which all must hold"
            )
        for bits in self.groups:
            if bits.first + bits.count > MOST_BITS:
                raise ValueError(f"bits up to {bits.first + bits.count - 1} of flags that have "
                                 f"{MOST_BITS} at most")  # fmt: skip
            if bits.count < 1 or any(not 0 <= value < 1 << bits.count for value in bits.values):
                raise ValueError(
                    f"bits {bits.first} to {bits.first + bits.count - 1} that must be"
                    f" {' or '.join(map(str, bits.values))}, which they cannot hold"
                )
        return self

    @property
    def is_flag(self) -> bool:
        """Whether the variable is compared as stored."""
        return bool(self.keep or self.bits)

    @property
    def is_quantity(self) -> bool:
        """Whether the values of the variable are compared with limits."""
        return self.above is not None or self.below is not None

    @property
    def groups(self) -> tuple[Bits, ...]:
        """The numbered bits and the values that each group of them may have."""
        groups = []
        for key, values in self.bits.items():
            if match := _BITS.fullmatch(str(key)):
                first, last = int(match[1]), int(match[2] or match[1])
                groups.append(Bits(first=first, count=last - first + 1, values=_tuple(values)))
        return tuple(groups)

    @property
    def named_bits(self) -> dict[str, tuple[int, ...]]:
        """Names of bits in `flag_meanings` → the values that each may have."""
        return {
            str(key): _tuple(values)
            for key, values in self.bits.items()
            if not _BITS.fullmatch(str(key))
        }


def _tuple(values: int | tuple[int, ...]) -> tuple[int, ...]:
    return values if isinstance(values, tuple) else (values,)


class Lookup(Frozen):
    """A table that has the values of stored numbers, such as those of the units of a soil map.

    >>> Lookup(lookup="HWSD2_LAYERS.csv", key="HWSD2_SMU_ID", value="SAND", weight="SHARE",
    ...        where={"LAYER": "D1"}).weight
    'SHARE'
    """

    lookup: str
    """Path of the table: CSV, Parquet, dBase (.dbf), SQLite or GDAL's raster attribute table
    (.aux.xml)."""
    skip_lines: int = later(0)
    """Number of lines, such as a title, above the names of columns of a table of text."""
    table: str | None = None
    """Name of the table in a database of SQLite, such as HWSD2_LAYERS."""
    key: str
    """Column with the stored numbers."""
    value: str
    """Column with their values."""
    weight: str | None = None
    """Column with the weights of several rows of one number: the value is their weighted mean, or
    with `codes` the one of the largest weight."""
    where: dict[str, float | str] = Field(default_factory=dict)
    """Columns and the value that rows must have in each to be used, such as `{LAYER: D1}`."""
    nodata: Codes | None = None
    """Values in the table that mean missing."""
    codes: dict[str, float] = Field(default_factory=dict)
    """Texts in the column `value` and the number of each, for a column of texts."""


Transform = Annotated[
    Annotated[Literal["square_signed", "power10"], Tag("name")] | Annotated[Lookup, Tag("lookup")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "lookup"),
]


class Computed(Frozen):
    """Settings of a variable whose values are computed from stored ones before regridding."""

    as_stored: bool = later(False)
    """Whether the stored numbers are used without the scale and offset that the file declares."""
    mask: tuple[Mask, ...] = later(())
    """Quality flags or thresholds that all must hold for a value to be used, such as
    `{name: flag, keep: [0]}`; one, or a list of several."""
    transform: Transform | None = later(None)
    """Transform of values after scale and offset: `square_signed` is sign(x) · (x / 127.5)², the
    packing of AlphaEarth; `power10` is 10 to the power of x; or a table that is looked up."""
    expression: str | None = later(None)
    """Formula of variables of the file, such as `srad * dayl / 86400`, instead of a `name`."""
    operands: dict[str, Term] = later({})
    """Names in the expression → variables that are in other files or whose names are no words."""

    @field_validator("mask", mode="before")
    @classmethod
    def _several(cls, mask: Any) -> Any:
        return mask if isinstance(mask, list | tuple) else (mask,)

    def check_computed(self, name: str, units: str | None, packing: Mapping[str, Any]) -> None:
        """Raise `ValueError` for settings that contradict each other.

        `packing` are the settings of stored numbers; those that are not used are falsy or as in
        `PACKING`.
        """
        used = [key for key, value in packing.items() if value != PACKING[key]]
        if (self.expression or self.transform) and not units:
            raise ValueError("an expression or a transform without `units` of its result")
        if self.expression:
            if self.transform:
                used.append("transform")
            if name != self.expression:
                used.append("name")
            if used:
                raise ValueError(f"an expression with {' and '.join(used)}, which are part of it")
            if not Expression(self.expression).names:
                raise ValueError(f'the expression "{self.expression}" without a variable')
        elif self.operands:
            raise ValueError("`operands` without an `expression`")
        if self.transform == "square_signed" and {"scale", "offset"} & {*used}:
            raise ValueError("`square_signed`, which divides by 127.5, with a scale or offset")
        if isinstance(self.transform, Lookup) and {*used} - {"nodata"}:
            raise ValueError(f"a lookup of stored numbers with {' and '.join(used)}")

    def names_in_files(self, name: str) -> tuple[str, ...]:
        """Return the names in the entry's own files that the variable `name` needs."""
        names = [name]
        if self.expression:
            used = Expression(self.expression).names
            terms = {
                n: self.operands.get(n) for n in used if n in self.operands or n not in POSITIONS
            }
            names = [t.name if t else n for n, t in terms.items() if t is None or t.uri is None]
        return (*names, *(mask.name for mask in self.mask if mask.uri is None))

    @property
    def is_computed(self) -> bool:
        """Whether a mask, transform or expression decides the values."""
        return bool(self.mask or self.transform or self.expression)
