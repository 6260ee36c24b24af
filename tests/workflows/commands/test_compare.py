"""Two models on the same held-out sites: the intervals, what is refused, the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from workflows.cli import main
from workflows.commands.compare import check_same, compare, open_side, write_comparison

TIME = pd.date_range("2001-01-01", "2002-12-31", name="time")
SITES = 24
MODELS = ("stefaland", "lstm")


def heldout(noise: tuple[float, float] = (0.5, 1.0)) -> xr.Dataset:
    """Observations and two models whose errors have the given standard deviations."""
    rng = np.random.default_rng(5)
    observed = rng.gamma(2.0, 2.0, (SITES, len(TIME)))
    observed[rng.random(observed.shape) < 0.1] = np.nan
    predicted = np.stack([observed + rng.normal(0, n, observed.shape) for n in noise])
    spread = np.broadcast_to(np.array(noise)[:, None, None], predicted.shape)
    dims = ("model", "site", "time")
    return xr.Dataset(
        {
            "observed": (dims[1:], observed),
            "predicted": (dims, predicted),
            "spread": (dims, spread),
        },
        {
            "model": list(MODELS), "site": np.arange(SITES), "time": TIME,
            "fold": ("site", [f"group{i % 3}" for i in range(SITES)]),
            "region": ("site", ["upper"] * 20 + ["lower"] * 4),
        },
    )  # fmt: skip


def save(table: xr.Dataset, folder: Path) -> str:
    table.to_zarr(folder / "heldout.zarr", consolidated=False)
    return str(folder)


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
def test_the_better_model_is_found_in_every_part(tmp_path: Path) -> None:
    run = save(heldout(), tmp_path / "run")
    names = ("NSE", "RMSE", "FHV", "CRPS")
    rows = compare(open_side(run), open_side(f"{run}:lstm"), names)
    by = rows.set_index(["score", "by", "label"])
    assert by.loc[("NSE", "all", "all"), "difference"] > 0
    assert by.loc[("RMSE", "all", "all"), "difference"] == pytest.approx(-0.5, abs=0.03)
    assert by.loc[("CRPS", "all", "all"), "better"] == "a"
    assert by.loc[("CRPS", "all", "all"), "a"] == pytest.approx(0.5 / np.sqrt(np.pi), rel=0.05)
    assert (by.loc["RMSE"].query("by == 'season'")["better"] == "a").all()
    assert by.loc[("RMSE", "region", "lower"), "better"] == "too few sites"
    assert set(rows["by"]) == {"all", "region", "fold", "season"}


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
def test_equal_models_are_undecided_and_sides_swap(tmp_path: Path) -> None:
    equal = save(heldout((1.0, 1.0)), tmp_path / "equal")
    one, other = open_side(equal), open_side(f"{equal}:lstm")
    there, back = compare(one, other, ["NSE"]), compare(other, one, ["NSE"])
    assert there["better"][0] == "undecided"
    assert there["low"][0] < 0 < there["high"][0]
    np.testing.assert_allclose(there["difference"], -back["difference"])


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
def test_only_values_that_both_predict_count(tmp_path: Path) -> None:
    table = heldout()
    table["predicted"][0, :, 300:] = 1e6
    table["predicted"][1, :, 300:] = np.nan
    run = save(table, tmp_path / "run")
    rows = compare(open_side(run), open_side(f"{run}:lstm"), ["RMSE"])
    assert rows["a"][0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ("site", r"2 sites only in .*\(0, 1\)"),
        ("time", "31 times only in"),
        ("fold", r"1 sites in another fold \(7\)"),
        ("region", r"1 sites in another region \(7\)"),
        ("observed", r"other observations at 1 sites \(3\)"),
    ],
)
def test_runs_that_cannot_be_paired_are_refused(
    difference: str, message: str, tmp_path: Path
) -> None:
    other = heldout()
    if difference == "site":
        other = other.isel(site=slice(2, None))
    elif difference == "time":
        other = other.isel(time=slice(31, None))
    elif difference == "observed":
        other["observed"][3, 10] = 99.0
    else:
        labels = other[difference].values.astype(object)
        labels[7] = "elsewhere"
        other = other.assign_coords({difference: ("site", labels.astype(str))})
    sides = [open_side(save(t, tmp_path / n)) for n, t in {"one": heldout(), "two": other}.items()]
    with pytest.raises(InputError, match=message):
        check_same(*sides)


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
def test_the_three_files_say_the_same(tmp_path: Path) -> None:
    run = save(heldout(), tmp_path / "run")
    a, b = open_side(run), open_side(f"{run}:lstm")
    rows = compare(a, b)
    paths = write_comparison(tmp_path / "out", a, b, rows)
    stored = json.loads(paths[0].read_text())
    assert stored["rows"][0]["difference"] == pytest.approx(rows["difference"][0])
    pd.testing.assert_frame_equal(pd.read_parquet(paths[1]), rows)
    page = paths[2].read_text()
    assert f"{rows['difference'][0]:.3f}" in page
    assert "http:" not in page
    assert "https:" not in page


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
def test_the_command_refuses_what_it_cannot_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = save(heldout(), tmp_path / "run")
    for arguments, message in (
        ((f"{run}:lstn", run), 'Did you mean "lstm"'),
        ((str(tmp_path / "none"), run), "Finish the run's score stage"),
        ((run, f"{run}:lstm", "--scores", "NSE,KGF"), 'Did you mean "KGE"'),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["score", "--compare", *arguments])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["score", "quickstart", "--compare", run, run])
    assert stopped.value.code == 2
