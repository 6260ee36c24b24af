"""Fixtures of all tests: where the data packages and the shared files are, or why a test skips."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tutorial_data import Truth, write_tutorial_data

ROOT = Path(__file__).parents[1]
REGISTRY = ROOT / "data" / "registry"
SHARED = ROOT.parent / "shared"

# A job that a shell started in the background ignores Ctrl-C, and so would the runs tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# CI repeats its cases; elsewhere property tests look for new ones at every run.
settings.register_profile("repeatable", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what needs data that is not here."""
    missing = {
        "registry": (REGISTRY / "jcm", "the data packages are not installed: run `make data`"),
        "shared": (SHARED / "reference", "no shared folder beside this checkout"),
    }
    for item in items:
        for marker, (path, reason) in missing.items():
            if item.get_closest_marker(marker) and not path.exists():
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def registry() -> Path:
    """The folder of the data packages."""
    return REGISTRY


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """The folder of the tutorial's files, and the daily values that they hold."""
    folder = tmp_path_factory.mktemp("tutorial")
    return folder, write_tutorial_data(folder)
