"""parse_json(): JSON from others, of which no text ends the program."""

from __future__ import annotations

import json
from typing import Any


def parse_json(content: bytes | str) -> Any:
    """Return the value of a JSON text; raises `ValueError` for invalid JSON and for deep nesting.

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ...
    ValueError: values nested too deeply
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("values nested too deeply") from None
