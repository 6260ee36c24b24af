"""Untrusted YAML: a plain value, or quickly one error with file, line and reason."""

from __future__ import annotations

import math
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import InputError
from pipeline.core.safe_yaml import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NUMBER,
    UnsafeYamlError,
    parse_yaml,
    read_yaml,
)
from pipeline.grid.named_grids import read_grids
from pipeline.maps.legend import read_legend

LAUGHS = "a: &a [ha, ha]\n" + "".join(f"{y}: &{y} [*{x}, *{x}]\n" for x, y in pairwise("abcdefgh"))

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=20) | st.dates()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)  # fmt: skip


@given(plain)
def test_what_yaml_writes_is_read_back(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value).encode(), "my.yml") == value


@given(
    st.binary(max_size=60) | st.text("[]{}:,-?&*!|>'\"%@#<1~ \n\ta", max_size=40).map(str.encode)
)
@example(b"!!timestamp x")
@example(b"!!int ''")
@example(b"!!bool x")
@example(b"!!set [a]")
@example(b"<<: [1]")
@example(b"? {a: 1}\n: b")
def test_any_text_is_a_value_or_an_input_error(content: bytes) -> None:
    try:
        parse_yaml(content, "my.yml")
    except InputError as error:
        (fault,) = error.faults
    else:
        return
    assert fault.where.startswith("my.yml, line ")


@given(st.integers(1, 3 * MAX_DEPTH), st.sampled_from(["[]", "{}", "- "]))
def test_depth_is_refused_from_one_level_on(depth: int, kind: str) -> None:
    text = {
        "[]": "[" * depth + "]" * depth,
        "{}": "{a: " * depth + "1" + "}" * depth,
        "- ": "- " * depth + "1",
    }[kind]
    if depth <= MAX_DEPTH:
        parse_yaml(text.encode(), "my.yml")
    else:
        with pytest.raises(UnsafeYamlError, match=f"more than {MAX_DEPTH} levels"):
            parse_yaml(text.encode(), "my.yml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: &x [1]\nc: *x\n", r"line 3: found the alias \*x; expected no aliases"),
        (LAUGHS.encode(), r"line 2: found the alias \*a"),
        (b"a: 1\nb:\n  c: 1\n  c: 2\n", 'line 4: found the duplicate key "c"'),
        (b"a: {1: x, 1.0: y}", 'the duplicate key "1.0"'),
        (b"!!set {a, a}", 'the duplicate key "a"'),
        (b"x: 1\ny: " + b"[" * 900_000, "line 2: found values nested"),
        (b"a: 1" + b":1" * 400_000, "a number or date of 800001 characters"),
        (b"a: " + b"9" * (MAX_NUMBER + 1), "a number or date of 101 characters"),
        (b" " * (MAX_BYTES + 1), "my.yml: found more than 1,000,000 bytes"),
    ],
    ids=["alias", "laughs", "key", "equal keys", "set", "depth", "base 60", "digits", "size"],
)
def test_what_is_unsafe_is_refused_with_its_line(content: bytes, message: str) -> None:
    with pytest.raises(UnsafeYamlError, match=message):
        parse_yaml(content, "my.yml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: [1\n", "line 3: found broken YAML .*expected ',' or ']'"),
        (
            b"a: 1\nb: 2001-02-30\n",
            'line 2: found .*"2001-02-30" is no valid timestamp: day is out',
        ),
        (b"a: 1\nb: \xff\n", "line 2: found 'utf-8' codec .*expected YAML in UTF-8"),
        (b"a: 1\n\nb: \x07\n", r"line 3: found the unprintable character '\\x07'"),
        (b"a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        (b"a: !!int x", 'line 1: found .*"x" is no valid int'),
        (b"a\n---\nb\n", "line 2: found .*another document"),
    ],
    ids=["syntax", "date", "encoding", "character", "tag", "int", "documents"],
)
def test_what_is_no_yaml_is_refused_with_its_line(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_yaml(content, "my.yml")
    assert not isinstance(caught.value, UnsafeYamlError)


def test_values_are_those_of_plain_yaml() -> None:
    text = b"{day: 2001-02-28, number: 1e-3, whole: 0x1f, null: ~, text: 'Ni\xc3\xb1o', x: .inf}"
    assert parse_yaml(text, "my.yml") == {
        "day": date(2001, 2, 28), "number": "1e-3", "whole": 31, None: None, "text": "Niño",
        "x": math.inf,
    }  # fmt: skip
    assert parse_yaml(b"<<: {a: 1, b: 2}\na: 3", "my.yml") == {"a": 3, "b": 2}
    assert parse_yaml(b"\xef\xbb\xbfa: 1", "my.yml") == {"a": 1}
    assert parse_yaml(b"", "my.yml") is None


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_catalog([path], {}), read_variables, read_grids, read_legend, read_yaml,
    ],
    ids=["catalog", "variables", "grids", "legend", "any"],
)  # fmt: skip
@pytest.mark.parametrize("text", [LAUGHS, "a: " + "[" * 900_000, "a: 1\na: 2"], ids=str.split)
def test_no_reader_lets_a_bomb_through(tmp_path: Path, read: Any, text: str) -> None:
    path = tmp_path / "my.yml"
    path.write_text(text)
    with pytest.raises(UnsafeYamlError, match=r"my\.yml, line \d: found"):
        read(path)


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(UnsafeYamlError, match="more than 1,000,000 bytes"):
        read_yaml(Path("/dev/zero"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yml: found No such file.*; expected a legend"):
        read_yaml(tmp_path / "none.yml", "a legend")
    with pytest.raises(InputError, match="found Is a directory"):
        read_yaml(tmp_path)
