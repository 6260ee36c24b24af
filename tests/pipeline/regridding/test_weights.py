"""Axes on the lattice and the weights between them: edges, seams, sums and orders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.grid.axes import PER_DEGREE, common_axes, source_axes
from pipeline.regridding.operators import Separable
from pipeline.regridding.weights import axis_weights
from tests.gridded import grid


def dense(weights, size: int) -> np.ndarray:
    matrix = np.zeros((weights.start.size, size))
    target = np.broadcast_to(np.arange(weights.start.size), weights.index.shape)
    np.add.at(matrix, (target, weights.index), weights.weight)
    return matrix


def test_edges_are_halfway_and_stop_at_the_poles() -> None:
    y, x = source_axes(np.arange(0, 360, 2.5), np.linspace(90, -90, 73), True)
    np.testing.assert_allclose(y.upper[:2] / PER_DEGREE, [-88.75, -86.25])
    assert y.lower[0] == -90 * PER_DEGREE
    assert y.upper[-1] == 90 * PER_DEGREE
    assert x.upper[-1] - x.lower[0] == x.period
    regional, _ = source_axes(np.arange(0, 10.0), np.arange(50, 40, -1.0), True)
    assert regional.lower[0] == -50.5 * PER_DEGREE


def test_equal_longitudes_have_equal_axes_in_every_frame() -> None:
    lon = -180 + 0.1 * (np.arange(3600) + 0.5)
    _, here = source_axes(lon, np.arange(3.0), True)
    _, there = source_axes(lon % 360, np.arange(3.0), True)
    np.testing.assert_array_equal(np.sort(here.centre % here.period),
                                  np.sort(there.centre % there.period))  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(3, 40), west=st.floats(-180, 180), span=st.floats(5, 300),
    step=st.sampled_from([0.7, 2.5, 11.0]), method=st.sampled_from(["area", "bilinear", "nearest"]),
)  # fmt: skip
def test_sums_are_the_fraction_of_the_target_on_the_source(
    n: int, west: float, span: float, step: float, method: str
) -> None:
    lon = west + span / n * (np.arange(n) + 0.5)
    target = grid(-180, 0, -180 + step * int(360 / step), step, step)
    (_, x), (_, target_x) = common_axes(lon, np.array([2.0, 1.0]), "EPSG:4326", target)
    weights = axis_weights(x, target_x, method)
    assert (weights.weight >= 0).all()
    share = np.zeros(target.shape[1])
    on_edge = np.zeros(target.shape[1], bool)
    for turn in (-720, -360, 0, 360, 720):
        low, high = west + turn, west + span + turn
        if method == "area":
            overlap = np.minimum(target.x_edges[1:], high) - np.maximum(target.x_edges[:-1], low)
            share += np.maximum(overlap, 0) / step
        else:
            share += (target.x > low) & (target.x < high)
            # A centre on the source's very edge may count as in or out.
            on_edge |= (abs(target.x - low) < 1e-9) | (abs(target.x - high) < 1e-9)
    np.testing.assert_allclose(weights.total[~on_edge], share[~on_edge], atol=1e-9)


@pytest.mark.parametrize("method", ["area", "bilinear", "nearest"])
def test_reversed_axes_have_the_mirrored_matrix(method: str) -> None:
    target = grid(-10, 30, 10, 50, 1.5 * 4 / 3)
    lon, lat = np.arange(-20.0, 21), np.arange(60.0, 19, -1)
    for flip_y, flip_x in ((False, True), (True, False), (True, True)):
        x, y = (v[::-1] if flip else v for v, flip in ((lon, flip_x), (lat, flip_y)))
        source, towards = common_axes(lon, lat, "EPSG:4326", target)
        flipped, _ = common_axes(x, y, "EPSG:4326", target)
        for axis, (a, b, flip) in enumerate(zip(source, flipped, (flip_y, flip_x), strict=True)):
            expected = dense(axis_weights(a, towards[axis], method), a.size)
            found = dense(axis_weights(b, towards[axis], method), b.size)
            np.testing.assert_array_equal(found, expected[:, ::-1] if flip else expected)


def test_windows_hold_what_the_weights_need() -> None:
    lon, lat = np.arange(0.0, 360, 2), np.arange(-89.0, 90, 2)
    for target in (grid(-11, 30, 11, 50, 1), grid(100, -90, 120, -80, 5), grid(-180, 0, 180, 8, 8)):
        (y, x), (target_y, target_x) = common_axes(lon, lat, "EPSG:4326", target)
        whole = Separable(axis_weights(y, target_y, "area"), axis_weights(x, target_x, "area"))
        part, window = whole.within
        cols = np.arange(lon.size)[window.cols]
        expected = dense(whole.x, lon.size)
        np.testing.assert_array_equal(dense(part.x, cols.size), expected[:, cols])
        np.testing.assert_allclose(expected[:, cols].sum(axis=1), expected.sum(axis=1))
        expected = dense(whole.y, lat.size)
        np.testing.assert_array_equal(dense(part.y, window.height), expected[:, window.rows])
    assert window.width == lon.size
