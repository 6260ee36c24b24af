"""The compiled loops of the separable engine against dense float64 arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.regridding.operators import Separable, apply_bands
from pipeline.regridding.weights import AxisWeights, rounded

forty_examples = settings(max_examples=40, deadline=None)


def dense(axis: AxisWeights) -> np.ndarray:
    """Weights (target, source) of an axis; bands are periodic."""
    matrix = np.zeros((axis.start.size, axis.size))
    for k, weight in enumerate(axis.weight):
        np.add.at(matrix, (np.arange(axis.start.size), (axis.start + k) % axis.size), weight)
    return matrix[:, ::-1] if axis.reverse else matrix


def expected(operator: Separable, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and coverages (t, Y, X) in float64."""
    wy, wx, valid = dense(operator.y), dense(operator.x), np.isfinite(values)
    coverage = wy @ valid @ wx.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return wy @ np.where(valid, values, 0).astype(float) @ wx.T / coverage, coverage


def applied(
    operator: Separable, kind: str, values: np.ndarray, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    shape = (len(values), *operator.shape)
    out, coverage = np.full(shape, 7, values.dtype), np.full(shape, 7, np.float32)
    apply_bands(operator, kind, values, 1e-12, out, coverage, threads)
    return out, coverage


@st.composite
def axes(draw: st.DrawFn, bands: int, ring: bool) -> AxisWeights:
    """Bands of random weights that begin `stride` apart, or anywhere; some cells have none."""
    size, targets = draw(st.integers(bands, 40)), draw(st.integers(1, 70))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    stride = draw(st.sampled_from([None, 1, 2, 3, 5]))
    start = random.integers(0, size, targets)
    if stride:
        start = start[0] + stride * np.arange(targets)
    start = start % size if ring else np.clip(start, 0, size - bands)
    weight = random.random((bands, targets)) + 0.01
    weight /= weight.sum(axis=0)
    weight[:, random.random(targets) < 0.1] = 0
    start = np.where(weight.any(axis=0), start, 0)
    return AxisWeights(start, weight, size, draw(st.booleans()) and not ring)


def field(shape: tuple[int, ...], dtype: type, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = (280 + 20 * random.random(shape)).astype(dtype)
    values[random.random(shape) < 0.3] = np.nan
    return values


def agree(operator: Separable, kind: str, values: np.ndarray) -> None:
    out, coverage = applied(operator, kind, values)
    mean, share = expected(operator, values)
    near = 1e-6 if values.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(coverage, share, atol=2e-6)
    clear = share > 1e-3
    np.testing.assert_allclose(out[clear], mean[clear], rtol=near)
    assert np.isnan(out[share == 0]).all()


@forty_examples
@given(data=st.data(), down=st.integers(1, 11), across=st.integers(1, 11), seed=st.integers(0, 99),
       dtype=st.sampled_from([np.float32, np.float64]))  # fmt: skip
def test_rows_first_is_the_dense_product(
    data: st.DataObject, down: int, across: int, seed: int, dtype: type
) -> None:
    y, x = data.draw(axes(down, ring=False)), data.draw(axes(across, ring=True))
    agree(Separable(y, x), "area", field((2, y.size, x.size), dtype, seed))


@forty_examples
@given(data=st.data(), bands=st.integers(1, 2), seed=st.integers(0, 99),
       dtype=st.sampled_from([np.float32, np.float64]))  # fmt: skip
def test_columns_first_is_the_dense_product(
    data: st.DataObject, bands: int, seed: int, dtype: type
) -> None:
    y, x = data.draw(axes(bands, ring=False)), data.draw(axes(bands, ring=True))
    agree(Separable(y, x), "point", field((2, y.size, x.size), dtype, seed))


def trimmed(axis: AxisWeights, targets: slice) -> AxisWeights:
    """Some target cells, with no more bands than they need themselves."""
    part = axis.part(targets)
    bands = max(1, int((part.weight > 0).sum(axis=0).max()))
    return AxisWeights(part.start, part.weight[:bands], part.size, part.reverse)


@forty_examples
@given(ratio=st.floats(1.2, 11), first=st.floats(0, 3), seed=st.integers(0, 99),
       dtype=st.sampled_from([np.float32, np.float64]))  # fmt: skip
def test_cells_alone_have_the_bits_that_they_have_together(
    ratio: float, first: float, seed: int, dtype: type
) -> None:
    """Neighbours of other widths meet other numbers of source cells."""
    lower = (first + ratio * np.arange(7)).round(2)
    upper = (first + ratio * np.arange(1, 8)).round(2)
    cells = np.arange(int(np.ceil(upper[-1])) + 1)
    overlap = np.clip(
        np.minimum(cells + 1, upper[:, None]) - np.maximum(cells, lower[:, None]), 0, 1
    )
    start = (overlap > 0).argmax(axis=1)
    bands = int((overlap > 0).sum(axis=1).max())
    weight = np.zeros((bands, 7))
    for j, row in enumerate(overlap):
        used = row[row > 0] / row.sum()
        weight[: used.size, j] = used
    axis = AxisWeights(start, weight, cells.size)
    values = field((2, cells.size, cells.size), dtype, seed)
    whole = applied(Separable(axis, axis), "area", values)
    for i in range(7):
        for j in range(7):
            rows, cols = slice(i, i + 1), slice(j, j + 1)
            alone = applied(Separable(trimmed(axis, rows), trimmed(axis, cols)), "area", values)
            np.testing.assert_array_equal(alone[0], whole[0][:, rows, cols])
            np.testing.assert_array_equal(alone[1], whole[1][:, rows, cols])


@pytest.mark.parametrize("kind", ["area", "point"])
def test_a_window_of_a_larger_array_is_read_where_it_lies(kind: str) -> None:
    whole = field((5, 30, 50), np.float32, 0)
    weight = np.array([[0.25] * 12, [0.75] * 12])
    operator = Separable(
        AxisWeights(np.arange(12) % 9, weight, 10), AxisWeights(2 * np.arange(12), weight, 25)
    )
    for window in (whole[::2, 7:17, 20:45], whole[:, 29:19:-1, 20:45], whole[:, 7:17, 45:20:-1],
                   np.asfortranarray(whole[:, 7:17, 20:45])):  # fmt: skip
        here, there = applied(operator, kind, window), applied(operator, kind, window.copy("C"))
        np.testing.assert_array_equal(here[0], there[0])
        np.testing.assert_array_equal(here[1], there[1])
        agree(operator, kind, window)


@pytest.mark.parametrize("kind", ["area", "point"])
def test_a_single_source_column_is_enough(kind: str) -> None:
    one = AxisWeights(np.zeros(4, np.int64), np.ones((1, 4)), 1)
    down = AxisWeights(np.arange(3), np.ones((1, 3)), 3)
    out, coverage = applied(Separable(down, one), kind, np.float32([[[1], [np.nan], [3]]]))
    np.testing.assert_array_equal(out[0], np.float32([[1], [np.nan], [3]]) * np.ones(4))
    np.testing.assert_array_equal(coverage[0], [[1] * 4, [0] * 4, [1] * 4])


def test_wide_bands_of_float32_lose_no_more_than_its_last_digits() -> None:
    """400 × 400 values of ten metres' spread a kilometre up: a naive sum is off by a metre."""
    random = np.random.default_rng(0)
    values = (1000 + 10 * random.random((1, 400, 800))).astype(np.float32)
    y = AxisWeights(np.zeros(1, np.int64), np.full((400, 1), 1 / 400), 400)
    x = AxisWeights(np.array([0, 400]), np.full((400, 2), 1 / 400), 800)
    out, _ = applied(Separable(y, x), "area", values)
    exact = values.astype(float).reshape(400, 2, 400).mean(axis=(0, 2))
    np.testing.assert_allclose(out[0, 0], exact, atol=2e-4)


@forty_examples
@given(bands=st.integers(2, 60), total=st.sampled_from([1.0, 0.5, 0.3]), seed=st.integers(0, 99))
def test_rounded_weights_keep_their_sum_and_lose_none(bands: int, total: float, seed: int) -> None:
    weight = np.random.default_rng(seed).random((bands, 5)) ** 4
    weight *= total / weight.sum(axis=0)
    weight[0, 0] = 1e-13
    single = rounded(weight, np.dtype(np.float32))
    assert single.dtype == np.float32
    assert (single > 0).all()
    np.testing.assert_allclose(single, weight, atol=(1 + bands) * 2.0**-24)
    running = np.float32(0)
    for row in single[:, 1:].T:
        running = np.float32(0)
        for value in row:
            running = np.float32(running + value)
        assert running == np.float32(np.rint(total * 2**24) / 2**24)
    np.testing.assert_array_equal(rounded(weight, np.dtype(float)), weight)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "bands"), [("area", 3), ("area", 8), ("point", 2)])
def test_threads_and_rows_of_any_width_change_no_bit(kind: str, bands: int, dtype: type) -> None:
    """133 columns begin anywhere in a cache line."""
    random = np.random.default_rng(0)
    weight = random.random((2, bands, 133)) + 0.01
    weight /= weight.sum(axis=1, keepdims=True)
    down, across = (AxisWeights(2 * np.arange(133), w, 300) for w in weight)
    operator, values = Separable(down, across), field((9, 300, 300), dtype, 0)
    agree(operator, kind, values)
    alone, together = (applied(operator, kind, values, threads) for threads in (1, 3))
    np.testing.assert_array_equal(alone[0], together[0])
    np.testing.assert_array_equal(alone[1], together[1])
