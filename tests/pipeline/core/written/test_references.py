"""What is replaced in texts, and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.provenance import provenance
from pipeline.core.written import references
from pipeline.core.written.references import (
    as_printed,
    as_written,
    environment_value,
    name_folder,
    reference,
    show_paths,
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing is known before a test, and what it adds is forgotten."""
    monkeypatch.setattr(references, "_values", {})
    monkeypatch.setattr(references, "_folders", {})
    monkeypatch.setenv("HOME", "/home/alice")
    yield
    show_paths(False)


def use(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
        assert environment_value(name) == value


@pytest.mark.parametrize(
    "value", ["hunter2", "SESAMEOPEN", "s p a c e", "a\"b'c\\d", "ünïcode", "q&<x>;$?*"]
)
def test_a_value_is_found_within_words_and_as_others_quote_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    use(monkeypatch, TOKEN=value)
    for text in (value, repr(value), json.dumps({"x": [value]}), f"--key={value}, then"):
        assert value not in as_printed(text)
        assert "${TOKEN}" in as_printed(text)
    assert as_written({"a": [f"x {value} y", 3, None, True]}) == {
        "a": ["x ${TOKEN} y", 3, None, True]
    }
    assert reference("TOKEN") == "${TOKEN}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("USER", "a"), ("BASIN", "rain"), ("TARGET", "soil_moisture"), ("YEAR", "2001"),
     ("ACCOUNT", "123456789"), ("BOUNDS", "-125.5,24.0"), ("TOKEN", ""), ("TOKEN", "abc"),
     ("AREA", "GLOBAL"), ("AREA", "Delaware")],
)  # fmt: skip
def test_short_values_words_and_numbers_garble_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    use(monkeypatch, **{name: value})
    text = "a rain of soil_moisture in 2001: 123456789 at -125.5,24.0 abc, GLOBAL Delaware"
    assert as_printed(text) == text
    assert as_written([text]) == [text]


def test_a_short_secret_is_replaced_as_a_whole_word(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, PASSWORD="clay", API_KEY="sandstorm")
    assert as_printed("clay clay_fraction x-clay.") == "${PASSWORD} clay_fraction x-${PASSWORD}."
    assert as_printed("xsandstormx") == "x${API_KEY}x"


def test_credentials_are_hidden_that_no_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "eyJ0eXAi")
    assert as_printed("Bearer eyJ0eXAi") == "Bearer ${EARTHDATA_TOKEN}"


def test_the_longest_of_values_and_folders_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ONE="abcd-efgh", TWO="abcd-efgh-ijkl")
    assert as_printed("abcd-efgh-ijkl abcd-efgh") == "${TWO} ${ONE}"
    name_folder("config", "/home/alice/project")
    name_folder("runs", "/home/alice/project/runs")
    name_folder("data", "/srv/abcd-efgh/data")
    written = as_written([
        "/home/alice/project/runs/x/a.tif", "/home/alice/project/my.yml", "/home/alice/x",
        "/home/alice", "/srv/abcd-efgh/data/rain.nc", "file:///srv/abcd-efgh/data/rain.nc",
    ])  # fmt: skip
    assert written == [
        "${runs}/x/a.tif", "${config}/my.yml", "~/x", "~", "${data}/rain.nc",
        "file://${data}/rain.nc",
    ]  # fmt: skip
    assert as_written("/srv/abcd-efgh/data/x", folders=False) == "/srv/${ONE}/data/x"


def test_other_paths_are_as_they_were() -> None:
    name_folder("data", "/data")
    for text in ("/data2/x", "/other/data/x", "s3://bucket/data/x", "a/data", "/data.old/x",
                 "/home/alicent/x", "data/x", "../data/x"):  # fmt: skip
        assert as_written(text) == text
    assert as_written("read /data/x, then /data.") == "read ${data}/x, then ${data}."


def test_paths_are_shown_where_the_user_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, TOKEN="hunter2")
    name_folder("data", "/data")
    show_paths(True)
    assert as_written("/data/hunter2 /home/alice") == "/data/${TOKEN} /home/alice"
    assert as_printed("/home/alice/hunter2") == "/home/alice/${TOKEN}"


def test_messages_have_no_credentials_of_addresses() -> None:
    assert as_printed("https://u:p@a.org/x?sig=1&b=2; s3://me@bucket/a@b?c") == (
        "https://a.org/x; s3://bucket/a@b?c"
    )
    assert as_printed('"https://a.org/x?y=z", expected') == '"https://a.org/x", expected'
    quoted = json.dumps({"x": 'see "https://a.org/x?y=z" there'})
    assert json.loads(as_printed(quoted)) == {"x": 'see "https://a.org/x" there'}
    assert as_printed("a\x1b[31mb\x00") == "a\ufffd[31mb\ufffd"


def test_the_provenance_of_an_artefact_has_references(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, TOKEN="hunter2")
    name_folder("data", "/data")
    found = provenance({"a": Path("/data/hunter2")}, {"rain": {"uri": ("/data/x", "y")}})
    assert found["config"] == {"a": "${data}/${TOKEN}"}
    assert found["sources"] == {"rain": {"uri": ["${data}/x", "y"]}}


def test_a_variable_that_is_not_set_has_a_hint() -> None:
    with pytest.raises(LookupError) as caught:
        environment_value("NOT_SET_7")
    assert "export NOT_SET_7=" in caught.value.args[1]
