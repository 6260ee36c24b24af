"""Catalogs, grids, legends and variables beside a config or written in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.errors import InputError
from tests.workflows.tiny import write_tiny
from workflows.config.load import find_config, load_config
from workflows.fingerprints import stage_fingerprint
from workflows.run import Run

ALPS = "{crs: 'EPSG:4326', bounds: [5, 43, 17, 49], resolution: 1}"
LEGEND = """title: acidity
kind: continuous
stops: [{value: 3, colour: '#ff0000'}, {value: 9, colour: '#0000ff'}]
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path)


def loaded(config: Path, *settings: str) -> Run:
    return Run(load_config(config, settings))


def changed(config: Path, **sections: object) -> Path:
    """The config with some of its sections replaced."""
    settings = yaml.safe_load(config.read_text()) | sections
    config.write_text(yaml.safe_dump(settings))
    return config


def test_files_beside_the_config_are_found_from_any_folder(tiny: Path) -> None:
    run = loaded(changed(tiny, catalogs=["catalog.yml"], grids=["grids.yml"]))
    assert run.grid("globe").name == "coarse"
    assert run.catalog.sources
    assert Path(run.config.catalogs[0]).is_absolute()


def test_a_copied_config_reads_the_packaged_catalog_of_its_name(tmp_path: Path) -> None:
    copied = tmp_path / "quickstart.yml"
    copied.write_text(find_config("quickstart").read_text())
    for config in (copied, find_config("quickstart")):
        assert load_config(config).catalogs == ("quickstart.yml",)


def test_grids_beside_the_config_need_not_be_named_and_packaged_ones_stay(tiny: Path) -> None:
    settings = yaml.safe_load(tiny.read_text())
    settings.pop("grids")
    tiny.write_text(yaml.safe_dump(settings))
    assert loaded(tiny).grid("globe").name == "coarse"
    assert loaded(tiny, "cubes.globe.grid=global_2deg").grid("globe").shape == (72, 180)


def test_a_grid_may_be_written_in_a_cube_or_by_name(tiny: Path) -> None:
    cube = {"grid": yaml.safe_load(ALPS)}
    run = loaded(changed(tiny, cubes={"globe": cube}))
    assert run.grid("globe").shape == (6, 12)
    assert run.config.cubes["globe"].grid == "globe"
    run = loaded(changed(tiny, cubes={"globe": {"grid": "alps"}}, grids={"alps": cube["grid"]}))
    assert run.grid("globe").bounds == (5, 43, 17, 49)
    window = {"window_of": "global_1deg", "rows": [0, 4], "cols": [0, 8]}
    assert loaded(changed(tiny, cubes={"globe": {"grid": window}})).grid("globe").shape == (4, 8)


def test_faults_of_own_grids_name_the_grid(tiny: Path) -> None:
    run = loaded(changed(tiny, cubes={"globe": {"grid": {"crs": "EPSG:4326", "bound": [0, 0]}}}))
    with pytest.raises(InputError, match=r'own_grids: grid "globe"[\s\S]*Did you mean "bounds"'):
        run.grid("globe")


@pytest.mark.parametrize("where", ["config", "beside"])
def test_own_variables_reach_run_and_entries(tiny: Path, where: str) -> None:
    definition = {"long_name": "soil acidity", "units": "1"}
    if where == "config":
        changed(tiny, variables={"acidity": definition})
    else:
        (tiny.parent / "variables.yml").write_text(yaml.safe_dump({"acidity": definition}))
    (tiny.parent / "catalog.yml").open("a").write(
        "soil: {uri: x.nc, driver: netcdf, variables: {acidity: {name: v}}}\n"
    )
    run = loaded(tiny)
    assert run.variables["acidity"].long_name == "soil acidity"
    assert run.catalog["soil"].own_variables == {"acidity": run.variables["acidity"]}
    again = load_config(tiny).model_dump(mode="json")
    assert again["variables"]["acidity"]["units"] == "1"


def test_runs_without_own_things_have_the_settings_of_before(tiny: Path) -> None:
    settings = load_config(tiny).model_dump(mode="json")
    assert not {"own_grids", "variables"} & {*settings}
    assert "legends" not in settings["publish"]


@pytest.mark.parametrize("where", ["config", "beside"])
def test_own_legends_are_used_and_part_of_the_fingerprint(tiny: Path, where: str) -> None:
    publish = {"legend": "acid", "spread_legend": "soil_moisture"}
    if where == "config":
        publish |= {"legends": {"acid": yaml.safe_load(LEGEND)}}  # type: ignore[operator]
    else:
        (tiny.parent / "legends").mkdir()
        (tiny.parent / "legends" / "acid.yml").write_text("name: acid\n" + LEGEND)
    run = loaded(changed(tiny, publish=publish))
    assert run.config.publish.legend_named("acid").title == "acidity"
    assert run.config.publish.legend_named("soil_moisture").units == "m3 m-3"
    before = stage_fingerprint(run, "publish")
    if where == "beside":
        path = tiny.parent / "legends" / "acid.yml"
        path.write_text(path.read_text().replace("title: acidity", "title: other"))
        assert stage_fingerprint(loaded(tiny), "publish") != before


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("extends: ''", "extends"), ("extends: [a]", "extends"), ("folds: {split: [pub]}", "split"),
        ("publish: {products: 3}", "publish.products"), ("publish: {legends: [a]}", "legends"),
        ("own_grids: 3", "own_grids"),
    ],
)  # fmt: skip
def test_settings_of_other_types_are_named(tmp_path: Path, line: str, where: str) -> None:
    config = tmp_path / "mine.yml"
    config.write_text(line if line.startswith("extends") else f"extends: quickstart.yml\n{line}\n")
    with pytest.raises(InputError) as caught:
        load_config(config)
    assert any(where in fault.where for fault in caught.value.faults)


def test_own_splits_are_found_beside_the_config(tiny: Path) -> None:
    (tiny.parent / "splits.yml").write_text("mine: {kind: blocks, k: 4, block_deg: 2}\n")
    folds = loaded(changed(tiny, folds={"split": "mine"})).config.folds
    assert (folds.kind, folds.k, folds.block_deg) == ("blocks", 4, 2)
    assert loaded(changed(tiny, folds={"split": "pub"})).config.folds.kind == "groups"


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"folds": {"split": "mien"}}, "splits.yml"),
        ({"cubes": {"globe": {"grid": "coarze"}}}, "grids.yml beside the config"),
        ({"publish": {"legend": "acid", "spread_legend": "acid"}}, "legends/acid.yml beside"),
    ],
)
def test_errors_of_unknown_names_say_where_to_write_ones_own(
    tiny: Path, settings: dict[str, Any], where: str
) -> None:
    def look() -> None:
        run = loaded(changed(tiny, **settings))
        assert run.grids
        run.config.publish.legend_named("acid")

    with pytest.raises(InputError) as caught:
        look()
    text = str(caught.value)
    assert where in text
    assert "site-packages" not in text
