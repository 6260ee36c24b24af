"""Characters that files cannot hold: control characters, and codes that are no characters."""

from __future__ import annotations

import re

_REFUSED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def refused_characters(text: str) -> str:
    """Return the code points of a text that XML, JSON and GeoTIFF tags cannot all hold; else empty.

    Tabs and line breaks are allowed.

    >>> refused_characters("Soil\\x07 moisture"), refused_characters("Bodenfeuchte, °")
    ('U+0007', '')
    """
    return ", ".join(f"U+{ord(found):04X}" for found in dict.fromkeys(_REFUSED.findall(text)))


def checked_characters(text: str) -> str:
    """Return the text; raises `ValueError` for characters that files cannot hold."""
    if refused := refused_characters(text):
        raise ValueError(f"a text with the control character {refused}")
    return text


def printable(text: str) -> str:
    """Return the text of a data file with U+FFFD for each character that files cannot hold.

    >>> printable("gauge\\x00 7")
    'gauge� 7'
    """
    return _REFUSED.sub("\ufffd", text)
