"""Random damage to bytes and to nested settings, decided by a random generator alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

ODD_BYTES = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\x00\x00\x00", b"-1")
ODD_TEXTS = (
    "", " ", "\x00", "\ud7ff", "é\u0301", "‮abc", "\u2028", "a" * 5000, "../../evil", "/", "${HOME}",
    "${no_such_name}", "{year}", "{year.foo}", "{year:>999d}", "nan", "-0", "1e999", "*", "[", "%s",
    "2001-13-45", "0001-01-01", "epsg:0", "__class__", "null", "mm/day/day", "1 / 0",
    "a" + "(" * 99,
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, [], {}, [[]], {"": ""}, [None], {"a": 1}, *ODD_NUMBERS, *ODD_TEXTS,
)  # fmt: skip


KINDS = (*["bit"] * 6, *["byte"] * 3, *["odd"] * 4, "remove", "insert", "cut")


def damaged_bytes(content: bytes, rng: random.Random, within: int | None = None) -> bytes:
    """The content with one to three bytes flipped, cut out, put in or cut off.

    With `within`, its first bytes alone are damaged: the header of a file.
    """
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        end = max(1, min(len(found), within or len(found)))
        at = rng.randrange(end)
        kind = rng.choice(KINDS)
        if kind == "bit" and found:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == "byte" and found:
            found[at] = rng.randrange(256)
        elif kind == "odd":
            odd = rng.choice(ODD_BYTES)
            found[at : at + len(odd)] = odd
        elif kind == "remove":
            del found[at : at + rng.choice((1, 2, 4, 16))]
        elif kind == "insert":
            found[at:at] = rng.choice(ODD_BYTES) * rng.choice((1, 4))
        elif kind == "cut":
            del found[at:]
    return bytes(found)


def damaged_value(value: Any, rng: random.Random) -> Any:
    """A copy of nested settings in which one to three values or keys are changed."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            return rng.choice(ODD_VALUES)
        parent, key = rng.choice(places)
        rng.choice(CHANGES)(parent, key, rng)
    return changed


def _places(value: Any) -> Any:
    """Every (mapping or list, key) below a value."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _replace(parent: Any, key: Any, rng: random.Random) -> None:
    parent[key] = copy.deepcopy(rng.choice(ODD_VALUES))


def _number(parent: Any, key: Any, rng: random.Random) -> None:
    parent[key] = rng.choice(ODD_NUMBERS)


def _text(parent: Any, key: Any, rng: random.Random) -> None:
    parent[key] = rng.choice(ODD_TEXTS)


def _drop(parent: Any, key: Any, rng: random.Random) -> None:
    del parent[key]


def _rename(parent: Any, key: Any, rng: random.Random) -> None:
    if isinstance(parent, dict):
        name = rng.choice((*ODD_TEXTS, 1, None, True, 1.5, f"{key}s", str(key).upper()))
        parent[name] = parent.pop(key)


def _listed(parent: Any, key: Any, rng: random.Random) -> None:
    parent[key] = [parent[key]] * rng.choice((1, 2))


def _nested(parent: Any, key: Any, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 3, 30, 60))):
        parent[key] = {key: parent[key]} if rng.random() < 0.5 else [parent[key]]


def _swap(parent: Any, key: Any, rng: random.Random) -> None:
    other = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    parent[key], parent[other] = parent[other], parent[key]


def _as_text(parent: Any, key: Any, rng: random.Random) -> None:
    parent[key] = str(parent[key])


def _repeat(parent: Any, key: Any, rng: random.Random) -> None:
    if isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[f"{key}_2"] = copy.deepcopy(parent[key])


CHANGES: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    _replace, _replace, _number, _text, _drop, _rename, _listed, _nested, _swap, _as_text, _repeat,
)  # fmt: skip
