"""read_notation(): units as people write them, taken apart into names and exponents.

This module knows how units are written; `units` knows what they mean.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import inf, prod


class UnknownUnitsError(ValueError):
    """A text that cannot be read as units; the message is the reason."""


@dataclass(frozen=True)
class Notation:
    """A number times names with exponents, such as 0.1 · mm · day^-1."""

    number: float
    powers: tuple[tuple[str, float], ...]
    is_of_water: bool = False
    """Whether the text calls it an amount of water."""


MAX_LENGTH = 200
"""Characters of units: nothing that is longer is one, and patterns take long for it."""
MAX_POWER = 99
SILENT = re.compile(r"-*|~|\?|none|null|unknown|undefined|n/?a|nan|missing|see .*", re.IGNORECASE)
"""Texts with which files state no units; read as dimensionless where they are all there is."""

DIMENSIONLESS = re.compile(
    r"(1|no ?units?|unit[ -]?less|(non|a)?-?_?dim(ensionless|ensional)?"
    r"|(\w+ )?(fraction|proportion)s?( of [\w ]+)?|frac(tional)?\.?|decimal|volumetric( (water"
    r" content|soil moisture))?|ratio|share|index|indices|number|numeric|count|class(es)?"
    r"|categor(y|ical)|flag|code.*|v/v|vol/vol|probability)?"
    r" ?([(\[]? ?0 ?(-|–|to|,|\.{2,3}) ?1 ?[)\]]?)?",
    re.IGNORECASE,
)
"""Whole texts that mean 1."""

_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_DEGREES = r"(?:deg(?:ree)?s?\.?|°)[ _-]?"
RULES: tuple[tuple[str, str], ...] = (
    # Signs: powers, products, quotients, and letters that only look alike.
    (r"[−–‐‑]", "-"),
    (r"\*\*", "^"),
    (r"\^ *[({] *([-+]?[\d.]+) *[)}]", r"^\1"),
    (r" *\^ *", "^"),
    (r"[·⋅∙×]", "*"),
    (r"[µμ]", "u"),
    (r"[º˚]", "°"),
    # Words for signs.
    (r"\bper[ -]?cent(age)?\b|\bpct\b\.?", "%"),
    (r"\bper[ -]?mill?e?\b|\bpromille\b|‰", "permille"),
    (r"\b(million|10\^6)\b", "1e6 "),
    (r"^1 ?/ ?(10|100|1000) (?=[a-z°])", r"1/\1*"),
    (r"(\b(vol(ume)?|w(eigh)?t|mass)\b\.?|\bvolumetric)[ -]?%", "%"),
    (r"% ?[(]?((by|of|in)\b|vol(ume(tric)?)?\b|w(eigh)?t\b|mass\b|area\b|cover\b|saturation\b"
     r"|total\b|\b[vw]/[vw]\b|[ .])*[)]?$", "%"),
    (r"\b(per|each)\b", "/"),
    (r"\btenths?( of)?( an?)?\b", "0.1 "),
    (r"\bhundredths?( of)?( an?)?\b", "0.01 "),
    (r"\bthousandths?( of)?( an?)?\b", "0.001 "),
    (r"\b(?:square|sq)\b[.-]? ?([a-z]+)", r"\1^2"),
    (r"\b(?:cubic|cu)\b[.-]? ?([a-z]+)", r"\1^3"),
    (r"\bsq(k?m|mi|ft)\b", r"\1^2"),
    (r"\bcu(m|ft)\b", r"\1^3"),
    (r"\b([a-z]+) squared\b", r"\1^2"),
    (r"\b([a-z]+) cubed\b", r"\1^3"),
    (r"\btime[ -_]?steps?\b", "step"),
    (r"\bac(re)?s?[ -]?f(ee|oo)?t\b", "acre_foot"),
    (r"\bus[ _]survey[ _]f(ee|oo)?t\b", "survey_foot"),
    (r"\bm\.?a\.?(m\.?)?s\.?l\b\.?", "m"),
    (r" ?\babove (mean sea level|sea ?level|msl|the geoid|egm\d+)\b| ?\ba\.?(m\.?)?s\.?l\b\.?", ""),
    (r" [(]?navd ?88[)]?$", ""),
    (r"\b(mm|in(ch(es)?)?)\b\.? (of )?(hg|mercury)\b", r"\1Hg"),
    (r"\binch(es)?Hg\b", "inHg"),
    (r"\bgeopotential met(er|re)s?\b", "gpm"),
    (r"\barc[ _-](degree|minute|second)s?\b|\b(degree|minute|second)s? of arc\b", r"arc\1\2"),
    (r"\barcdegree\b", "degree"),
    (r"\bkw-?hr?s?\b", "kWh"),
    # A number belongs to the name behind it in mm/3h, mm/(10 min), m3/100m3 and kg m-2 3h-1.
    (r"/ ?(\d+(?:\.\d+)?)[ -]?([a-z]+(?:\^?\d+)?)", r"/(\1 \2)"),
    (r"(?<=[ *.])(?<!\d\.)(\d+)(?!e[-+\d])([a-z]+)\^?(-\d+)", r"(\1 \2)^\3"),
    # Temperatures, and angles with a word on how they are counted.
    (_DEGREES + r"c(el[sc]ius|entigrade)?\b|\bcelcius\b|\bcentigrade\b|^oC$", "degC"),
    (_DEGREES + r"f(ahrenheit)?\b|\bfahrenheit\b", "degF"),
    (_DEGREES + r"k(elvins?)?\b|\bkelvins?\b", "K"),
    (r"\bdecimal[ _]degrees?\b", "degree"),
    (r"\b(deg(?:ree)?s?\b\.?|°) ?\(?((counter-?|anti-?)?clockwise|from|true|of|north|east| )+\)?$",
     "degree"),
    (r"°", "degree"),
)  # fmt: skip
"""Patterns and what they are read as, in this order; the case of letters is ignored."""

WATER = re.compile(
    r"[\[(]? ?\b(of )?(liquid )?(water|h2o)([ -]equivalents?)?\b ?[\])]?|\bw\.? ?e(q)?\.?(?![a-z])",
    re.IGNORECASE,
)
"""Words that call an amount one of water."""

NAMES = {
    "mb": "hPa", "millibars": "hPa", "F": "degF", "MM": "mm", "in": "inch",
    "cfs": "ft^3/s", "cusec": "ft^3/s", "cusecs": "ft^3/s",
    "cms": "m^3/s", "cumec": "m^3/s", "cumecs": "m^3/s", "CFS": "ft^3/s", "CMS": "m^3/s",
    "lps": "litre/s", "MGD": "1e6 gallon/day", "mgd": "1e6 gallon/day", "kmh": "km/hour",
    "dy": "day", "dys": "day", "annum": "year", "yrs": "year", "Yr": "year",
    "mon": "month", "mons": "month", "mo": "month", "mth": "month", "months": "month",
    "dekads": "dekad", "decad": "dekad", "pentads": "pentad", "ltr": "litre",
    "people": "1", "persons": "1", "person": "1", "inhabitants": "1", "individuals": "1",
    "population": "1", "events": "1", "counts": "1",
}  # fmt: skip
"""Names that pint lacks or takes for something else (mb for millibarns, F for farad)."""

AMBIGUOUS = {
    "ton": "1000 kg (t), or a short ton", "tons": "1000 kg (t), or short tons",
    "gr": "gram, or grain", "MCM": "million cubic metres, or micrometres",
    "Mcm": "million cubic metres, or megacentimetres",
    "mcm": "million cubic metres, or micrometres",
    "Mm": "million or mega, millimetre or metre", "pH": "a logarithm, or picohenry",
    "dB": "a logarithm of any ratio", "ly": "langley, or light year",
}  # fmt: skip

_POWER = r"(?:\^(?P<power>[-+]?\d+(?:\.\d+)?)|(?P<digits>[-+]?\d+))?"
_TOKEN = re.compile(
    r" *(?:(?:(?P<number>\d+(?:\.\d+)?(?:e[-+]?\d+)?)|(?P<name>[^\W\d]+|%)|(?P<close>\)))"
    + _POWER + r"|(?P<sign>[*/.(])) *",
    re.IGNORECASE,
)  # fmt: skip
_BEHIND = "{} behind the units may multiply them or the stored numbers"
Factor = tuple[str, float]


def is_silent(text: str) -> bool:
    """Whether a file states no units with this text.

    >>> is_silent("-"), is_silent("1")
    (True, False)
    """
    return len(text) <= MAX_LENGTH and bool(SILENT.fullmatch(_bare(text)))


@cache
def read_notation(text: str) -> Notation:
    """Return units as a number, names and exponents; `UnknownUnitsError` if that is impossible.

    >>> read_notation("kg m**-2 s**-1").powers
    (('kg', 1.0), ('m', -2.0), ('s', -1.0))
    """
    if len(text) > MAX_LENGTH:
        raise UnknownUnitsError(f'"{text[:40]}…", a text of {len(text):,} characters')
    bare = _bare(text)
    if bare and (SILENT.fullmatch(bare) or DIMENSIONLESS.fullmatch(bare)):
        return Notation(1.0, ())
    dry = plain = WATER.sub(" ", bare).strip()
    for pattern, replacement in RULES:
        plain = re.sub(pattern, replacement, plain, flags=re.IGNORECASE)
    tokens = _tokens(plain.rstrip(" ."))
    factors, _ = _product(tokens)
    if not factors or next(tokens, None) is not None:
        raise UnknownUnitsError(f'"{text}" cannot be read as units')
    try:
        number = prod(float(base) ** power for base, power in factors if base[0].isdigit())
    except (ArithmeticError, ValueError):
        number = 0.0
    if not 0 < number < inf:
        raise UnknownUnitsError(f'"{text}" has a number that is no factor')
    if any(abs(power) > MAX_POWER for _, power in factors):
        raise UnknownUnitsError(f'"{text}" has a power above {MAX_POWER}')
    powers = tuple((base, power) for base, power in factors if not base[0].isdigit())
    return Notation(number, powers, dry != bare)


def _bare(text: str) -> str:
    """Return the text with superscripts as powers and without brackets around all of it."""
    powers = _SUPERSCRIPTS.sub(lambda found: "^" + unicodedata.normalize("NFKC", found[0]), text)
    plain = " ".join(unicodedata.normalize("NFKC", powers.replace("º", "°")).split())
    while re.fullmatch(r"\([^()]*\)|\[[^\[\]]*\]", plain):
        plain = plain[1:-1].strip()
    return plain


def _tokens(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise UnknownUnitsError(f'"{text}" has the sign "{text[at]}"')
        yield token
        at = token.end()


def _product(tokens: Iterator[re.Match[str]], is_group: bool = False) -> tuple[list[Factor], float]:
    """Return the factors of a product up to its end, and the exponent of a bracket around it."""
    factors: list[Factor] = []
    sign = 1.0
    for token in tokens:
        if token["sign"] and token["sign"] != "(":
            if token["sign"] == "*" and factors in ([("10", 1.0)], [("100", 1.0)]):
                raise UnknownUnitsError("a factor before * may multiply the stored numbers")
            sign = -1.0 if token["sign"] == "/" else sign
            continue
        power = float(token["power"] or token["digits"] or 1)
        if token["close"]:
            return factors, power
        if token["sign"]:
            inner, power = _product(tokens, is_group=True)
            if inner and factors and sign > 0 and all(base[0].isdigit() for base, _ in inner):
                raise UnknownUnitsError(_BEHIND.format(inner[0][0]))
        elif token["number"]:
            if factors and sign > 0:
                raise UnknownUnitsError(_BEHIND.format(token["number"]))
            inner = [(token["number"], 1.0)]
        else:
            inner = _named(token["name"])
        factors += [(base, own * power * sign) for base, own in inner]
        sign = 1.0
    if is_group or sign < 0:
        raise UnknownUnitsError("a bracket or quotient without its end")
    return factors, 1.0


def _named(name: str) -> list[Factor]:
    if name in AMBIGUOUS:
        raise UnknownUnitsError(f"{name} may mean {AMBIGUOUS[name]}")
    return _product(_tokens(NAMES[name]))[0] if name in NAMES else [(name, 1.0)]
