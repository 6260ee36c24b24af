"""Markers beside those of pyproject.toml."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    text = "qgis: opens the project in headless QGIS (scripts/install_qgis.sh); skips without it"
    config.addinivalue_line("markers", text)
