from __future__ import annotations

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stefaland.metrics import (
    accumulate,
    coverage,
    finish,
    flow_duration,
    gaussian_crps,
    merge,
    paired_difference,
    pool,
    summarise,
)

RNG = np.random.default_rng(3)
OBS = RNG.gamma(1.0, 3.0, (6, 400))
SIM = OBS * 0.8 + RNG.gamma(1.0, 0.7, (6, 400))


def gappy() -> tuple[np.ndarray, np.ndarray]:
    obs, sim = OBS.copy(), SIM.copy()
    obs[RNG.random(obs.shape) < 0.3] = np.nan
    sim[RNG.random(sim.shape) < 0.05] = np.nan
    return obs, sim


def test_scores_equal_their_formulas_on_valid_pairs() -> None:
    obs, sim = gappy()
    scores = finish(accumulate(obs, sim))
    for i in range(6):
        valid = np.isfinite(obs[i]) & np.isfinite(sim[i])
        o, s = obs[i][valid], sim[i][valid]
        r = np.corrcoef(o, s)[0, 1]
        kge = 1 - np.sqrt(
            (r - 1) ** 2 + (s.std() / o.std() - 1) ** 2 + (s.mean() / o.mean() - 1) ** 2
        )
        anomalies = (s - s.mean()) - (o - o.mean())
        want = {
            "NSE": 1 - ((s - o) ** 2).sum() / ((o - o.mean()) ** 2).sum(),
            "KGE": kge, "KGE_r": r, "KGE_alpha": s.std() / o.std(),
            "KGE_beta": s.mean() / o.mean(), "RMSE": np.sqrt(((s - o) ** 2).mean()),
            "ubRMSE": np.sqrt((anomalies**2).mean()), "bias": (s - o).mean(),
            "correlation": r, "count": valid.sum(),
        }  # fmt: skip
        for name, value in want.items():
            assert scores[name][i] == pytest.approx(value, rel=1e-9), name


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 399), min_size=1, max_size=5, unique=True))
def test_additive_over_any_chunks_of_time(cuts: list[int]) -> None:
    obs, sim = OBS + 1e4, SIM + 1e4
    edges = [0, *sorted(cuts), 400]
    total = None
    for a, b in pairwise(edges):
        part = accumulate(obs[:, a:b], sim[:, a:b])
        total = part if total is None else merge(total, part)
    whole = finish(accumulate(obs, sim))
    for name, value in finish(total).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-7, err_msg=name)


def test_pool_equals_one_long_series() -> None:
    obs, sim = gappy()
    pooled = finish(pool(accumulate(obs, sim))["all"])
    flat = finish(accumulate(obs.ravel(), sim.ravel()))
    for name in flat:
        np.testing.assert_allclose(pooled[name], flat[name], rtol=1e-9)
    by = pool(accumulate(obs, sim), ["a", "b", "a", "b", "b", "b"])
    first = finish(accumulate(obs[[0, 2]].ravel(), sim[[0, 2]].ravel()))
    np.testing.assert_allclose(finish(by["a"])["NSE"], first["NSE"])


def test_empty_and_constant_sites_are_nan_and_do_not_hide() -> None:
    obs = np.array([[np.nan] * 4, [2.0] * 4, [1.0, np.nan, np.nan, np.nan], [1, 2, 3, 4.0]])
    scores = finish(accumulate(obs, np.ones((4, 4)) * 2.0))
    assert np.isnan(scores["NSE"][:3]).all()
    assert scores["NSE"][3] < 0
    assert np.isnan(scores["KGE"][3])
    assert scores["RMSE"][1] == 0
    assert scores["count"].tolist() == [0, 4, 1, 4]
    summary = summarise(scores, ["a", "a", "b", "b"])
    assert summary["a"]["RMSE"]["sites"] == 1
    assert np.isnan(summary["a"]["NSE"]["median"])


def test_gaps_do_not_bias_ubrmse() -> None:
    # The published code takes the two means over different days.
    obs = np.sin(np.arange(365) / 58)[None] * 0.2 + 0.3
    sim = obs + 0.05
    obs = np.where(np.arange(365) < 150, np.nan, obs)
    scores = finish(accumulate(obs, sim))
    assert scores["ubRMSE"][0] == pytest.approx(0.0, abs=1e-9)


def test_flow_duration_signs() -> None:
    obs = np.sort(RNG.gamma(0.5, 4.0, (1, 1000)) + 0.01)
    assert flow_duration(obs, obs * 1.1)["FHV"][0] == pytest.approx(10.0)
    assert flow_duration(obs, obs * 1.1)["FLV"][0] == pytest.approx(0.0, abs=1e-4)
    flat = np.maximum(obs, np.quantile(obs, 0.2))
    assert flow_duration(obs, flat)["FLV"][0] > 5
    assert np.isnan(flow_duration(obs * np.nan, obs)["FHV"][0])


@pytest.mark.parametrize("package", ["neuralhydrology", "HydroErr"])
def test_equal_to_the_fields_packages(package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed (peers are optional)")
    ours = {k: float(v[0]) for k, v in finish(accumulate(OBS[:1], SIM[:1])).items()}
    ours |= {k: float(v[0]) for k, v in flow_duration(OBS[:1], SIM[:1]).items()}
    if package == "HydroErr":
        import HydroErr as he  # noqa: N813

        theirs = {"NSE": he.nse(SIM[0], OBS[0]), "KGE": he.kge_2009(SIM[0], OBS[0])}
        theirs["RMSE"] = he.rmse(SIM[0], OBS[0])
    else:
        import xarray as xr

        # By path: the package's __init__ requires TensorBoard and more.
        folder = Path(find_spec("neuralhydrology").submodule_search_locations[0])
        spec = spec_from_file_location("nh_metrics", folder / "evaluation" / "metrics.py")
        metrics = module_from_spec(spec)
        spec.loader.exec_module(metrics)
        o, s = (
            xr.DataArray(x[0], dims="date", coords={"date": np.arange(400)}) for x in (OBS, SIM)
        )
        theirs = {"NSE": metrics.nse(o, s), "KGE": metrics.kge(o, s)}
        theirs |= {"FHV": metrics.fdc_fhv(o, s), "FLV": metrics.fdc_flv(o, s)}
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-6), name


def test_crps_and_coverage_of_a_calibrated_distribution() -> None:
    mean, spread = RNG.normal(size=(3, 20000)), np.full((3, 20000), 0.7)
    obs = mean + 0.7 * RNG.normal(size=mean.shape)
    # The expected CRPS of a calibrated normal distribution is sigma / sqrt(pi).
    assert gaussian_crps(obs, mean, spread).mean() == pytest.approx(0.7 / np.sqrt(np.pi), rel=0.02)
    np.testing.assert_allclose(coverage(obs, mean, spread), 0.9, atol=0.01)
    assert gaussian_crps(1.0, 3.0, 0.0) == pytest.approx(2.0)
    assert gaussian_crps(obs, mean, spread * 2).mean() > gaussian_crps(obs, mean, spread).mean()
    assert np.isnan(gaussian_crps(1.0, 3.0, [np.nan, -1.0])).all(), (
        "a missing spread is not a point forecast"
    )


@pytest.mark.parametrize("value", [0.3, 1e-7, 1e9, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_series_has_no_score_that_divides_by_its_variance(
    value: float, dtype: type
) -> None:
    obs = np.full((1, 365), value, dtype)
    sim = (obs + max(value, 1.0) * RNG.normal(size=obs.shape)).astype(dtype)
    moments = merge(accumulate(obs[:, :100], sim[:, :100]), accumulate(obs[:, 100:], sim[:, 100:]))
    for scores in (finish(accumulate(obs, sim)), finish(moments)):
        assert all(np.isnan(scores[name]).all() for name in ("NSE", "KGE", "correlation"))
        assert np.isfinite(scores["RMSE"]).all()
    flat = finish(accumulate(sim, obs))
    assert np.isnan(flat["correlation"]).all()
    assert np.isfinite(flat["NSE"]).all()


def test_a_small_variation_of_a_large_mean_is_no_constant() -> None:
    obs = 1e5 + 1e-3 * RNG.normal(size=(1, 365))
    assert finish(accumulate(obs, obs))["NSE"] == pytest.approx(1.0)


def test_paired_difference_sees_a_small_steady_gain() -> None:
    base = RNG.normal(0.5, 0.3, 80)
    better = base + 0.02 + RNG.normal(0, 0.02, 80)
    result = paired_difference(better, base)
    assert 0 < result["low"] < result["difference"] < result["high"]
    assert paired_difference(base, base)["share"] == 0
    assert paired_difference([np.nan], [1.0])["sites"] == 0
