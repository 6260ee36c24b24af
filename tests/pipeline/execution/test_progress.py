"""The progress bar of a stage: on a terminal, unless the level of the package's logger hides it."""

from __future__ import annotations

import logging

import pytest

from pipeline.execution.progress import stage_bar


@pytest.mark.parametrize(
    ("level", "shown"), [(logging.NOTSET, True), (logging.DEBUG, True), (logging.WARNING, False)]
)
def test_a_level_above_info_hides_the_bar(
    level: int, shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    monkeypatch.setattr(logging.getLogger("pipeline"), "level", level)
    with stage_bar("regrid", 3, 0) as advance:
        advance(0)
    assert ("regrid" in capsys.readouterr().err) == shown
