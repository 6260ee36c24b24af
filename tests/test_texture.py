from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.legend import named_legend
from pipeline.texture import CLASSES, FRACTIONS, closed, texture, usda_class
from stefaland.errors import InputError

# Sand, silt, clay in percent at the middle of each class of the triangle.
TYPICAL = {
    "sand": (92, 5, 3), "loamy sand": (82, 12, 6), "sandy loam": (65, 25, 10),
    "loam": (40, 40, 20), "silt loam": (20, 65, 15), "silt": (7, 88, 5),
    "sandy clay loam": (60, 13, 27), "clay loam": (33, 33, 34), "silty clay loam": (10, 56, 34),
    "sandy clay": (52, 6, 42), "silty clay": (6, 47, 47), "clay": (20, 20, 60),
}  # fmt: skip


def test_typical_soils() -> None:
    parts = np.array(list(TYPICAL.values())).T / 100
    assert [CLASSES[code - 1] for code in usda_class(*parts)] == list(TYPICAL)


def test_legend_names_the_same_classes() -> None:
    stops = named_legend("usda_texture").stops
    assert {int(stop.value): stop.label for stop in stops} == dict(enumerate(CLASSES, start=1))


def test_limits_of_the_triangle() -> None:
    """Points on the limits, decided by the manual's `or more` and `less than`."""
    cases = {
        (45, 15, 40): "clay", (46, 14, 40): "sandy clay", (20, 40, 40): "silty clay",
        (20, 53, 27): "silty clay loam", (21, 52, 27): "clay loam", (52, 41, 7): "loam",
        (53, 40, 7): "sandy loam", (8, 80, 12): "silt loam", (9, 80, 11): "silt",
        (85, 15, 0): "loamy sand", (86, 14, 0): "sand", (70, 30, 0): "sandy loam",
    }  # fmt: skip
    parts = np.array(list(cases)).T / 100
    assert [CLASSES[code - 1] for code in usda_class(*parts)] == list(cases.values())
    single = usda_class(*parts.astype(np.float32))
    assert [CLASSES[code - 1] for code in single] == list(cases.values())


def test_every_composition_has_one_class() -> None:
    sand, clay = np.meshgrid(np.arange(0, 100.25, 0.25), np.arange(0, 100.25, 0.25))
    inside = sand + clay <= 100
    sand, clay = sand[inside] / 100, clay[inside] / 100
    codes = usda_class(sand, 1 - sand - clay, clay)
    assert set(np.unique(codes)) == set(range(1, 13))


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 20), elements=st.floats(0, 1, width=32)))
def test_published_fractions_sum_to_one(parts: np.ndarray) -> None:
    total = parts.sum(axis=0, dtype=np.float64)
    found = closed(*parts, tolerance=0.2)
    valid = np.abs(total - 1) <= 0.2
    assert np.array_equal(np.isfinite(found[0]), valid)
    assert np.abs(sum(part.astype(np.float64) for part in found)[valid] - 1).max(initial=0) < 2e-7


def test_missing_and_impossible_stay_missing() -> None:
    sand, silt, clay = np.array(
        [[0.4, np.nan, 0.4, 1.2], [0.4, 0.4, 0.1, -0.1], [0.2, 0.2, 0.1, -0.1]]
    )
    ds = texture(xr.Dataset({"sand": ("x", sand), "silt": ("x", silt), "clay": ("x", clay)}))
    for name in FRACTIONS:
        assert list(np.isfinite(ds[name].values)) == [True, False, False, False]
    assert list(ds["texture_class"].values) == [7, 255, 255, 255]


def test_an_absent_fraction_is_told() -> None:
    with pytest.raises(InputError, match="no silt, clay"):
        texture(xr.Dataset({"sand": ("x", [0.5])}))
