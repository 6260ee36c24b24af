"""Damaged configs, catalogs, legends, grids and variables: read right, or refused clearly."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import note

from tests.faults.fuzz.campaign import SECONDS
from tests.faults.fuzz.explore import EXAMPLES, explore
from tests.faults.fuzz.texts import KINDS, check_text, damaged_text


def _explore(kind: str, path: Path, seconds: float, examples: int) -> None:
    def check(rng: random.Random) -> None:
        content = damaged_text(kind, rng)
        note(content.decode("utf-8", "replace")[:2000])
        check_text(kind, content, path)

    explore(check, seconds, examples)


@pytest.mark.parametrize("kind", ["legend", "grids"])
def test_a_few_damaged_texts_are_read_right_or_refused(kind: str, tmp_path: Path) -> None:
    _explore(kind, tmp_path / "a.yml", 0, 8)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_texts_are_read_right_or_refused(kind: str, tmp_path: Path) -> None:
    _explore(kind, tmp_path / "a.yml", 0.45 * SECONDS / len(KINDS), EXAMPLES)
