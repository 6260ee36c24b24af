import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cube.moments import Moments, accumulate, merge, merge_all


def _reference(values):
    kept = np.sort(values[~np.isnan(values)].astype(np.longdouble))
    mean = kept.mean()
    return kept.size, float(mean), float(((kept - mean) ** 2).sum()), kept.min(), kept.max()


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 400), max_size=5),
    offset=st.sampled_from([0.0, 300.0, -1e5]),
    missing=st.floats(0, 0.99),
)
def test_any_parts_have_the_moments_of_the_whole(seed, cuts, offset, missing):
    rng = np.random.default_rng(seed)
    values = rng.normal(offset, 2.0, 400)
    values[rng.random(400) < missing] = np.nan
    values[0] = offset
    parts = [accumulate(part) for part in np.split(values, sorted(cuts))]
    got = merge_all(parts)
    count, mean, m2, low, high = _reference(values)
    assert got.count == count
    assert got.mean == pytest.approx(mean, rel=1e-13)
    assert got.m2 == pytest.approx(m2, rel=1e-9, abs=1e-9)
    assert (got.minimum, got.maximum) == (low, high)


def test_float32_values_are_summed_in_float64():
    values = np.full(10_000_000 // 4, 300.1, np.float32)
    values[::2] += np.float32(0.25)
    got = accumulate(values)
    reference = values.astype(np.float64)
    assert got.mean == pytest.approx(reference.mean(), rel=1e-12)
    assert got.std == pytest.approx(reference.std(), rel=1e-9)


def test_axis_and_where_choose_what_counts():
    values = np.arange(24.0).reshape(2, 3, 4)
    values[0, 0, 0] = np.nan
    train = np.array([True, False, True])[:, None]
    got = accumulate(values, axis=(0, 1), where=train)
    kept = values[:, [0, 2]].reshape(4, 4)
    np.testing.assert_array_equal(got.count, [3, 4, 4, 4])
    np.testing.assert_allclose(got.mean, np.nanmean(kept, axis=0))
    np.testing.assert_allclose(got.std, np.nanstd(kept, axis=0))
    np.testing.assert_array_equal(got.minimum, np.nanmin(kept, axis=0))


def test_test_cells_have_no_influence():
    values = np.random.default_rng(0).normal(size=(5, 30))
    train = np.arange(30) < 20
    changed = values.copy()
    changed[:, 20:] = 1e9
    assert accumulate(values, where=train) == accumulate(changed, where=train)


def test_nothing_counted_is_no_zero():
    empty = accumulate(np.full(5, np.nan))
    assert empty.count == 0
    assert np.isnan(empty.std)
    assert empty.to_dict()["min"] is None
    some = accumulate(np.array([2.0, 4.0]))
    for both in (merge(empty, some), merge(some, empty)):
        assert (both.count, both.mean, both.m2, both.minimum) == (2, 3.0, 2.0, 2.0)


@pytest.mark.parametrize("axis", [None, 1])
def test_moments_survive_json(axis):
    values = np.random.default_rng(1).normal(size=(3, 7))
    values[1] = np.nan
    moments = accumulate(values, axis=axis)
    again = Moments.from_dict(json.loads(json.dumps(moments.to_dict())))
    for name in vars(moments):
        np.testing.assert_array_equal(getattr(again, name), getattr(moments, name))
