"""Kinds of values, and the regridding methods that suit each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from pipeline.core.errors import nearest_name

Code = Annotated[int | str, Field(union_mode="left_to_right")]
"""Code of a class: a whole number, or a text in a column of polygons."""
METHODS_OF = {
    "continuous": ("conservative", "bilinear", "nearest", "mean", "std"),
    "categorical": ("fractions", "mode", "nearest"),
    "cyclic": ("circular_mean", "nearest"),
}
"""Methods of `regrid` for each kind of values, the default one first."""
METHODS = tuple(dict.fromkeys(name for names in METHODS_OF.values() for name in names))
WHY = {
    "continuous": "quantities have no classes and no period",
    "categorical": "a mean of class codes is another class",
    "cyclic": "a plain mean of 350 and 10 degrees is 180",
}


def method_fault(kind: str, method: str) -> str:
    """Return what is wrong with the method for values of that kind; empty if it suits them."""
    if method not in METHODS:
        hint = nearest_name(method, METHODS)
        return f'method "{method}" is not one of {", ".join(METHODS)}. {hint}'
    if method in METHODS_OF[kind]:
        return ""
    others = [other for other, methods in METHODS_OF.items() if method in methods]
    return (
        f'method "{method}" for values of kind {kind} ({WHY[kind]}). Set `method` to '
        f"{' or '.join(METHODS_OF[kind])}, or `kind` to {' or '.join(others)}"
    )


def with_default_method(entry: Any) -> Any:
    """Return an entry's settings with the usual method of its kind, if it has none.

    An entry made of others has the method of its parts.
    """
    if not isinstance(entry, Mapping) or {"method", "merge"} & {*entry}:
        return entry
    usual = METHODS_OF.get(str(entry.get("kind", "continuous")))
    return {**entry, "method": usual[0]} if usual else entry


def labelled_codes(classes: Any) -> Any:
    """Return classes as label → codes; a list is of codes that are their own labels."""
    if isinstance(classes, list | tuple):
        classes = {_whole(code): code for code in classes}
    if not isinstance(classes, Mapping):
        return classes
    return {
        str(label): tuple(map(_whole, codes)) if isinstance(codes, list | tuple) else
        (_whole(codes),)
        for label, codes in classes.items()
    }  # fmt: skip


def _whole(code: Any) -> Any:
    """Return a code, of which 1.0 is the whole number 1; `ValueError` for other fractions."""
    if isinstance(code, float) and not code.is_integer():
        raise ValueError(f"the code {code:g} in `classes`, which is no whole number")
    return int(code) if isinstance(code, float) else code


def kind_fault(
    kind: str, method: str, classes: Mapping[str, tuple[Code, ...]], period: float | None,
    *, needs: bool = True,
) -> str:  # fmt: skip
    """Return what in an entry contradicts the kind of its values; empty if nothing does.

    `needs` is whether categorical values need `classes`.
    """
    if wrong := method_fault(kind, method):
        return wrong
    codes = [code for group in classes.values() for code in group]
    if twice := {str(code) for code, count in Counter(codes).items() if count > 1}:
        return f"codes in more than one class: {', '.join(sorted(twice))}"
    if kind == "categorical" and not classes and needs:
        return "a categorical source without `classes`"
    if classes and kind != "categorical":
        return f"`classes` of {kind} values. Set `kind: categorical`"
    if period is not None and (kind != "cyclic" or period <= 0):
        return "a `period` of values that are not cyclic, or none above 0"
    return ""
