"""What is reported of settings that changed since a stage ran, and what is recorded of them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from workflows import fingerprints
from workflows.run import Run
from workflows.stages.changes import changes, reason, recorded_settings


def recorded(monkeypatch: pytest.MonkeyPatch, stage: str, settings: Any) -> dict[str, Any]:
    """The settings of a stage as its marker has them."""
    monkeypatch.setitem(fingerprints.DEPENDS, stage, lambda run: settings)
    run = cast(Run, SimpleNamespace(config=SimpleNamespace(plugins=())))
    return dict(json.loads(json.dumps(recorded_settings(run, stage))))


def test_short_values_are_named_old_and_new(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recorded(monkeypatch, "finetune", {"finetune": {"steps": 200, "lr": 0.1}, "seed": 1})
    now = recorded(monkeypatch, "finetune", {"finetune": {"steps": 400, "lr": 0.1}, "seed": 2})
    assert changes(before, now) == ["finetune.steps 200 → 400", "seed 1 → 2"]
    assert changes(now, now) == []


def test_settings_without_a_section_get_that_of_their_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, now = (recorded(monkeypatch, "predict", {"cubes": c}) for c in (["a"], ["a", "b"]))
    assert changes(before, now) == ['predict.cubes ["a"] → ["a", "b"]']


def test_files_are_counted_by_source(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [[["a.nc", i, 1]] for i in range(5)]
    files = {"era5": stamps, "soil": stamps}
    before = recorded(monkeypatch, "regrid", {"files": files})
    moved = [*stamps[:2], *[[["a.nc", i, 2]] for i in range(2, 5)]]
    now = recorded(monkeypatch, "regrid", {"files": {"era5": moved, "soil": stamps[:4]}})
    assert changes(before, now) == [
        "source era5: 3 files changed", "source soil: 1 file changed"
    ]  # fmt: skip


def test_values_of_catalog_entries_are_recorded_as_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [{"name": "era5", "uri": f"https://{word}@host/a.nc"} for word in ("secret", "other")]
    before, now = (recorded(monkeypatch, "regrid", {"sources": [entry]}) for entry in entries)
    assert "secret" not in json.dumps(before)
    assert changes(before, now) == ["sources.era5.uri changed"]


def test_long_values_are_only_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = (recorded(monkeypatch, "report", {"title": word * 99}) for word in "ab")
    assert changes(before, now) == ["title changed"]


def test_a_reason_is_one_line_with_the_first_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    run = cast(Run, SimpleNamespace(config=SimpleNamespace(plugins=())))
    marker = {"version": "1", "settings": recorded(monkeypatch, "score", dict.fromkeys("abcd", 1))}
    monkeypatch.setitem(fingerprints.DEPENDS, "score", lambda run: dict.fromkeys("abcd", 2))
    assert reason(marker, run, "score", "2") == (
        "version 1 → 2, score.a 1 → 2, score.b 1 → 2 and 2 more"
    )
    assert "recorded no settings" in reason({"fingerprint": "a"}, run, "score", "2")
