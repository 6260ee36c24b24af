"""Tables of the paper: configs that load, data that are missing, and one table end to end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.catalog.catalog import read_catalog
from pipeline.core.errors import InputError
from pipeline.fetch.order import product_of
from pipeline.readers.registry import driver_of
from tests.products.sites import text
from tests.workflows.cli.test_json import agree
from workflows.cli import main
from workflows.commands.reproduce import compared, reproduce
from workflows.config.load import load_config
from workflows.config.paper_tables import FOLDER, PaperTable, paper_tables
from workflows.run import Run, used_sources

TABLES = paper_tables().tables
HEADER = "Year Mnth Day Hr\tdayl(s)\tprcp(mm/day)\tsrad(W/m2)\tswe(mm)\ttmax(C)\ttmin(C)\tvp(Pa)\n"
ATTRIBUTES = {
    "name": {"huc_02": ["01", "01", "03", "03", "17", "17"]},
    "topo": {
        "gauge_lat": [45.0, 44.0, 33.0, 32.0, 46.0, 45.0],
        "gauge_lon": [-69.0, -70.0, -84.0, -85.0, -122.0, -121.0],
        "elev_mean": [200.0, 300, 150, 100, 800, 900], "slope_mean": [20.0, 25, 5, 4, 90, 80],
        "area_gages2": [500.0] * 6, "area_geospa_fabric": [500.0] * 6,
    },
    "soil": {
        name: np.linspace(*limits, 6).round(3).tolist()
        for name, limits in (
            ("soil_depth_pelletier", (1, 20)), ("soil_depth_statsgo", (1, 1.5)),
            ("soil_porosity", (0.4, 0.5)), ("soil_conductivity", (1, 5)),
            ("max_water_content", (0.3, 0.6)), ("sand_frac", (20, 60)), ("silt_frac", (60, 20)),
            ("clay_frac", (20, 18)),
        )
    },
    "vege": {
        name: np.linspace(0.1, 0.9, 6).round(2).tolist()
        for name in ("frac_forest", "lai_max", "lai_diff", "gvf_max", "gvf_diff")
    },
    "geol": {"carbonate_rocks_frac": [0.0, 0.1, 0.4, 0, 0, 0.2],
             "geol_permeability": [-14.0, -13, -12, -13, -14, -15]},
}  # fmt: skip
GAUGES = ["01013500", "01022500", "03015500", "03021350", "12010000", "12013500"]
SMALL = [
    "folds.regions.folds={east: ['1'], west: ['17']}", "folds.min_cells=1",
    "folds.train_period=[1999-10-01, 2000-09-30]", "folds.test_period=[1998-10-01, 1999-09-30]",
    "model.preset=stefaland-tiny", "model.settings={d_model: 8, d_embed: 4, d_feedforward: 8}",
    "pretrain.window=60", "finetune.window=60", "pretrain.epochs=1", "finetune.epochs=1",
    "pretrain.batch_size=4", "finetune.batch_size=4", "finetune.steps_per_epoch=2",
    "finetune.baselines=[ridge]", "cluster.kind=none",
]  # fmt: skip


def make_camels(folder: Path) -> None:
    """Six gauges in three hydrologic regions, with forcings and streamflow of two years."""
    days, random = pd.date_range("1998-10-01", "2000-09-30"), np.random.default_rng(0)
    season = np.cos(2 * np.pi * (days.day_of_year.to_numpy() - 200) / 365.25)
    for i, gauge in enumerate(GAUGES):
        rain = random.gamma(0.4, 8.0, days.size)
        flow = np.convolve(rain, 0.8 ** np.arange(30))[: days.size] * 10 + 5
        dates = [f"{day.year} {day.month:02d} {day.day:02d}" for day in days]
        rows = [
            f"{date} 12\t43200\t{p:.2f}\t{300 + 100 * s:.1f}\t0\t{15 + 12 * s + i:.2f}\t"
            f"{5 + 12 * s + i:.2f}\t{900 + 500 * s:.1f}\n"
            for date, p, s in zip(dates, rain, season, strict=True)
        ]
        text(folder / "basin_mean_forcing/daymet/01" / f"{gauge}_lump_cida_forcing_leap.txt",
             "45\n200\n500\n" + HEADER + "".join(rows))  # fmt: skip
        text(folder / "usgs_streamflow/01" / f"{gauge}_streamflow_qc.txt",
             "".join(f"{gauge} {d} {q:.2f} A\n" for d, q in zip(dates, flow, strict=True)),
             )  # fmt: skip
    for name, columns in ATTRIBUTES.items():
        frame = pd.DataFrame(columns, index=pd.Index(GAUGES, name="gauge_id"))
        text(folder / f"camels_{name}.txt", frame.to_csv(sep=";"))
    text(folder / "531_basin_list.txt", "\n".join(GAUGES))


def run_of(table: PaperTable, settings: Iterable[str] = ()) -> Run:
    return Run(load_config(FOLDER / table.config, [*settings]))


@pytest.mark.parametrize("name", TABLES)
def test_each_table_has_a_config_scores_and_origins_of_all_its_data(name: str) -> None:
    table = TABLES[name]
    run = run_of(table)
    assert run.config.name == f"paper_{Path(table.config).stem}"
    assert run.grids is not None
    names = {source.name for source in used_sources(run)}
    assert {need.source for need in table.needs} == names
    known = {variable for source in used_sources(run) for variable in source.variables}
    assert known <= set(run.variables)
    for source in used_sources(run):
        assert driver_of(source)
    for row in table.rows:
        assert set(row.scores) <= set(table.scores)
        assert row.model in (None, *run.config.finetune.models)
    assert bool(table.rows) == (table.until == "report")
    commands = [need.get.split() for need in table.needs if need.get.startswith("stefaland fetch")]
    for _, _, product, *_ in commands:
        assert product in read_catalog(product_of(product), data="/d").products[
            product_of(product)
        ].get  # fmt: skip


@pytest.mark.parametrize("name", [name for name in TABLES if name != "pretraining"])
def test_all_missing_data_are_one_error_with_where_they_can_be_had(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        reproduce(name, tmp_path, [f"roots.runs={tmp_path}/runs"])
    assert len(caught.value.faults) == len(TABLES[name].needs)
    assert all(fault.hint.startswith("Get it: ") for fault in caught.value.faults)
    assert not (tmp_path / "runs").exists()


def test_all_basins_need_no_list_of_some(tmp_path: Path) -> None:
    all_basins = "cubes.basins.locations=camels_us_671"
    with pytest.raises(InputError, match="camels_us_671") as caught:
        reproduce("camels_pub", tmp_path, [all_basins, f"roots.runs={tmp_path}/runs"])
    assert "531" not in str(caught.value)


def test_our_scores_stand_beside_those_of_the_paper() -> None:
    models = {"stefaland": {"sites": {"NSE": {"median": 0.7}}}, "ridge": {"sites": {}}}
    rows = compared(TABLES["camels_pub"], models)
    of = {(row["paper_model"], row["score"]): row for row in rows}
    assert of["StefaLand resConn", "NSE"]["difference"] == pytest.approx(0.7 - 0.717)
    assert of["StefaLand resConn", "NSE"]["standard_error"] == 0.16
    assert of["Informer", "NSE"]["ours"] is None
    assert of["linear regression (Table 10)", "RMSE"]["ours"] is None


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce", *words])
    assert not stopped.value.code, capsys.readouterr().err
    return capsys.readouterr().out


def test_tables_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(name in printed(capsys, "--list") for name in TABLES)
    agree(json.loads(printed(capsys, "--list", "--json")), "stefaland reproduce --list --json")


@pytest.mark.slow
def test_a_table_runs_end_to_end_on_its_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_camels(tmp_path / "camels_us")
    settings = [word for it in (*SMALL, f"roots.runs={tmp_path}/runs") for word in ("--set", it)]
    words = ("camels_pur", "--data", str(tmp_path), *settings)
    document = json.loads(printed(capsys, *words, "--json"))
    agree(document, "stefaland reproduce TABLE --json")
    found = {(row["paper_model"], row["score"]): row for row in document["rows"]}
    ours = found["StefaLand resConn", "NSE"]
    assert ours["paper"] == 0.635
    assert ours["difference"] == pytest.approx(ours["ours"] - 0.635)
    assert document["sites"] == 4
    assert "0.635 ± 0.25" in printed(capsys, *words)
