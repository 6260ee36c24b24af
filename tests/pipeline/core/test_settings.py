"""Settings: pydantic's errors become faults, `${NAME}` is expanded, files hold mappings."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator

from pipeline.core.errors import Faults, InputError
from pipeline.core.settings import (
    Frozen,
    Limit,
    check_texts,
    expanded,
    later,
    read_entries,
    read_mapping,
    validated,
)


class Inner(Frozen):
    colour: str = ""
    grid: str = ""


class Other(Frozen):
    weight: int = 0


class Outer(Frozen):
    number: int
    one: Inner = Inner()
    maybe: Inner | None = None
    by_name: dict[str, Inner] = Field(default_factory=dict)
    mapped: Mapping[str, tuple[Inner, ...]] = Field(default_factory=dict)
    many: tuple[Inner, ...] = ()
    pair: tuple[Inner, Other] | None = None
    listed: list[Annotated[Inner, Field(description="one")]] = Field(default_factory=list)
    either: Inner | Other | None = None
    mode: Literal["none", "all"] | Annotated[int, Field(ge=0)] = "none"

    @field_validator("number")
    @classmethod
    def _even(cls, number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number


def faults_of(**settings: Any) -> dict[str, str]:
    """Return the location and the text of each fault."""
    with pytest.raises(InputError) as caught:
        validated(Outer, {"number": 2, **settings}, "my.yml")
    return {fault.where: str(fault) for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("settings", "location"),
    [
        ({"one": {"color": "x"}}, "one.color"),
        ({"maybe": {"color": "x"}}, "maybe.color"),
        ({"by_name": {"grid": {"color": "x"}}}, "by_name.grid.color"),
        ({"mapped": {"number": [{}, {"color": "x"}]}}, "mapped.number.1.color"),
        ({"many": [{}, {"color": "x"}]}, "many.1.color"),
        ({"pair": [{"color": "x"}, {}]}, "pair.0.color"),
        ({"listed": [{"color": "x"}]}, "listed.0.color"),
        ({"either": {"color": "x"}}, "either.Inner.color"),
    ],
)
def test_an_unknown_key_at_any_depth_gets_the_nearest_of_its_own_model(
    settings: dict[str, Any], location: str
) -> None:
    text = faults_of(**settings)[f"my.yml: {location}"]
    known = "colour, grid, weight" if "either" in settings else "colour, grid"
    hint = 'Did you mean "colour"?'
    assert text == f"my.yml: {location}: found an unknown key; expected one of {known}. {hint}"


def test_the_members_of_a_pair_have_keys_of_their_own() -> None:
    text = faults_of(pair=[{}, {"wieght": 1}])["my.yml: pair.1.wieght"]
    assert "expected one of weight. Did you mean" in text


def test_all_that_is_wrong_is_reported_together_in_plain_words() -> None:
    with pytest.raises(InputError) as caught:
        validated(Outer, {"one": 3, "many": {}, "mode": "some", "nmber": 2}, "my.yml")
    texts = {fault.where: str(fault) for fault in caught.value.faults}
    assert texts["my.yml: number"].endswith("found nothing; expected a value for this key.")
    assert texts["my.yml: one"].endswith("found 3; expected a mapping of settings.")
    assert texts["my.yml: many"].endswith("found {}; expected a valid tuple.")
    assert 'Did you mean "number"?' in texts["my.yml: nmber"]
    assert any("found 'some'; expected 'none' or 'all'" in text for text in texts.values())
    assert faults_of(number=3)["my.yml: number"].endswith(
        "found 3 is odd; expected consistent settings."
    )


def test_a_long_value_is_cut_short() -> None:
    assert len(faults_of(number="9" * 5000 + "x")["my.yml: number"]) < 200


def test_settings_that_fit_are_the_model() -> None:
    assert validated(Outer, {"number": 4, "one": {"grid": "g"}}, "x").one == Inner(grid="g")
    assert validated(Outer, Outer(number=2), "x") == Outer(number=2)


NAMES = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=6)
TEXTS = st.text(string.printable.replace("$", ""), max_size=12)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def looked_up(known: Mapping[str, str], value: Any) -> tuple[Any, list[str]]:
    """Return the expanded value and the faults for unknown names."""

    def lookup(name: str) -> str:
        if name not in known:
            raise LookupError("a known name", "Look again.")
        return known[name]

    faults = Faults()
    found = expanded(value, lookup, "my.yml", faults)
    assert all(fault.hint == "Look again." for fault in faults.faults)
    return found, [fault.where for fault in faults.faults]


@given(VALUES)
def test_a_value_without_names_stays(value: Any) -> None:
    assert looked_up({}, value) == (value, [])


@given(st.lists(st.tuples(TEXTS, NAMES, TEXTS), max_size=4), st.dictionaries(NAMES, TEXTS))
def test_each_name_becomes_what_it_stands_for_and_the_rest_stays(
    parts: list[tuple[str, str, str]], known: dict[str, str]
) -> None:
    text = "".join(f"{before}${{{name}}}{after}" for before, name, after in parts)
    wanted = "".join(before + known.get(name, "") + after for before, name, after in parts)
    unknown = sum(name not in known for _, name, _ in parts)
    assert looked_up(known, {"a": [text]}) == ({"a": [wanted]}, ["my.yml: a.0"] * unknown)


@given(NAMES, TEXTS.filter(lambda text: "}" not in text), TEXTS)
def test_a_default_stands_for_an_unknown_name_alone(name: str, default: str, known: str) -> None:
    text = f"${{{name}:-{default}}}"
    assert looked_up({}, text) == (default, [])
    assert looked_up({name: known}, text) == (known, [])


def test_what_a_name_stands_for_is_not_expanded_again() -> None:
    assert looked_up({"a": "${b}", "b": "c"}, "${a}") == ("${b}", [])


def test_texts_that_only_look_like_names_stay() -> None:
    for text in ("$a", "${}", "${a b}", "{year}", "${a"):
        assert looked_up({"a": "1"}, text) == (text, [])


def test_a_file_of_entries_is_a_mapping_of_mappings(tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text("1: {b: 2}\nc: {}\n")
    assert read_entries(path, "sources") == {"1": {"b": 2}, "c": {}}
    assert read_mapping(path) == {1: {"b": 2}, "c": {}}
    path.write_text("a: 1\nb: [2]\nc: {}\n")
    with pytest.raises(InputError) as caught:
        read_entries(path, "sources")
    assert [fault.where for fault in caught.value.faults] == ["my.yml: a", "my.yml: b"]
    for text, found in (("", "nothing"), ("- a", "list"), ("a", "str")):
        path.write_text(text)
        with pytest.raises(InputError, match=f"found {found}; expected a YAML mapping of names"):
            read_entries(path, "sources")


class Grown(Frozen):
    old: int = 1
    added: str | None = later(None)
    pairs: dict[str, int] = later({})


def test_a_later_setting_is_dumped_only_where_it_is_used() -> None:
    assert Grown().model_dump() == {"old": 1}
    assert Grown(added="a", pairs={"b": 2}).model_dump(mode="json") == {
        "old": 1, "added": "a", "pairs": {"b": 2},
    }  # fmt: skip
    assert Grown.model_validate({"added": None}).model_dump() == {"old": 1}


def test_control_characters_are_faults_and_line_breaks_are_not() -> None:
    faults = Faults()
    settings = {"title": "a\nb\tc", "places": [{"name": "x"}, {"name": "\x1b[2J\x07"}], "n": 3}
    check_texts(settings, "my.yml", faults)
    (fault,) = faults.faults
    assert str(fault) == (
        "my.yml: places.1.name: found a text with the control character U+001B, U+0007; "
        "expected printable text."
    )


def test_a_long_value_is_not_cut_within_a_value_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CDSAPI_KEY", "hunter2-hunter2")
    with pytest.raises(InputError) as caught:
        validated(Outer, {"number": "x" * 70 + "hunter2-hunter2"}, "my.yml")
    assert "hunter" not in str(caught.value)


def test_numbers_are_finite_and_limits_may_be_infinite() -> None:
    class Numbers(Frozen):
        size: float = 1.0
        most: Limit = 1.0

    assert validated(Numbers, {"most": float("inf")}, "a.yml").most == float("inf")
    for name, value in (("size", "nan"), ("size", "inf"), ("most", "nan")):
        with pytest.raises(InputError, match=name):
            validated(Numbers, {name: float(value)}, "a.yml")
