"""Each task of `pipeline.core` has one implementation in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("pipeline", "stefaland", "workflows")


@pytest.mark.parametrize(
    ("pattern", "homes"),
    [
        (r"\byaml\.(safe_load|load|parse|compose|SafeLoader)\b", {"pipeline/core/safe_yaml.py"}),
        (r"\bos\.(replace|rename)\(", {"pipeline/core/files.py"}),
        (r"\.errors\(", {"pipeline/core/settings.py"}),
        (r"\b(import|from) (pint|cf_xarray\.units)\b", {"pipeline/core/units.py"}),
        (r"\$\\\{", {"pipeline/core/settings.py"}),
    ],
    ids=["YAML", "replacing a file", "faults of pydantic", "pint", "names in texts"],
)
def test_it_has_one_home(pattern: str, homes: set[str]) -> None:
    found = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(pattern, path.read_text())
    }
    assert found == homes
