"""Catalog entries: roots, files, faults reported together, and hints with the nearest names."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import InputError
from pipeline.entries.source import Source

ENTRY = "{uri: x.nc, driver: netcdf, variables: {rain: {name: v}}}"


def written(tmp_path: Path, text: str, name: str = "my.yml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def refused(*paths: Path, roots: dict[str, str] | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read_catalog(list(paths), roots or {})
    return caught.value


def test_roots_are_expanded_in_every_string_of_an_entry(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a: {uri: '${data}/x/m{month:02d}.npz', driver: npz, lat: '${data}/lat.npz',\n"
        "    variables: {rain: {name: v}}}\n"
        "b: {uri: x.csv, driver: landslides, lat: y, lon: x, cell: id,\n"
        "    variables: {rain: {name: v}}, options: {triggers: ['${other}/y.nc']}}\n",
    )
    catalog = read_catalog([path], {"data": tmp_path, "other": "/elsewhere"})
    source = catalog["a"]
    assert source.files[0] == tmp_path / "x" / "m01.npz"
    assert source.files[-1] == tmp_path / "x" / "m12.npz"
    assert len(source.files) == 12
    assert source.lat == f"{tmp_path}/lat.npz"
    assert catalog["b"].options["triggers"] == ["/elsewhere/y.nc"]


def test_the_folder_of_pyogrio_is_a_root(tmp_path: Path) -> None:
    path = written(tmp_path, "a: {uri: '${pyogrio}/tests', driver: vector}\n")
    assert read_catalog([path], {})["a"].files[0].name == "tests"
    assert "pyogrio" in read_catalog([path], {})["a"].uri


def test_reading_a_catalog_opens_no_data(tmp_path: Path) -> None:
    path = written(tmp_path, f"a: {ENTRY}\n")
    assert read_catalog([path], {})["a"].files == [Path("x.nc")]


def test_sources_of_several_files_are_one_catalog_and_names_are_used_once(tmp_path: Path) -> None:
    first = written(tmp_path, f"a: {ENTRY}\n", "one.yml")
    second = written(tmp_path, f"b: {ENTRY}\n", "two.yml")
    assert set(read_catalog([first, second], {}).sources) == {"a", "b"}
    error = refused(first, written(tmp_path, f"a: {ENTRY}\n", "three.yml"))
    assert 'three.yml: source "a"' in str(error)
    assert "a second source of this name" in str(error)


def test_unknown_keys_at_each_depth_get_the_nearest(tmp_path: Path) -> None:
    error = refused(
        written(
            tmp_path,
            "a: {uri: x.nc, driver: netcdf, min_coverige: 1, variables: {rain: {name: v}}}\n"
            "b: {uri: x.nc, driver: netcdf, variables: {rain: {name: v, ofset: 1}}}\n",
        )
    )
    assert 'Did you mean "min_coverage"?' in str(error)
    assert 'Did you mean "offset"?' in str(error)
    assert len(error.faults) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: {driver: netcdf, variables: {rain: {name: v}}}", "uri"),
        ("a: {uri: x.nc, driver: netcdf}", "at least one variable"),
        ("a: {uri: x.tif, driver: raster, kind: categorical, variables: {k: {name: band_1}}}",
         "a categorical source without `classes`"),
        ("a: {uri: x.nc, driver: netcdf, min_coverage: 2, variables: {rain: {name: v}}}",
         "min_coverage"),
        ("- a\n- b", "a YAML mapping"),
        ("a: 3", "a mapping of its settings"),
        ("a: {uri: [", "a YAML mapping"),
    ],
)  # fmt: skip
def test_bad_entries_name_the_file_and_what_was_expected(
    tmp_path: Path, text: str, expected: str
) -> None:
    error = refused(written(tmp_path, text))
    assert "my.yml" in str(error)
    assert expected in str(error)


def test_a_missing_catalog_is_named(tmp_path: Path) -> None:
    assert "none.yml" in str(refused(tmp_path / "none.yml"))


def test_variables_of_a_file_and_their_faults_together(tmp_path: Path) -> None:
    path = written(tmp_path, "rain: {long_name: rain, units: mm/day, valid_range: [0, 500]}\n")
    assert read_variables(path)["rain"].valid_range == (0, 500)
    path = written(tmp_path, "a: {long_name: a}\nb: {long_name: b, units: m, valid_rnge: [0, 1]}\n")
    with pytest.raises(InputError) as caught:
        read_variables(path)
    assert len(caught.value.faults) == 2
    assert 'variable "a": units' in str(caught.value)
    assert 'Did you mean "valid_range"?' in str(caught.value)


def test_entries_cannot_be_changed() -> None:
    source = Source.model_validate(
        {"name": "a", "uri": "x.nc", "driver": "netcdf", "variables": {"rain": {"name": "v"}}}
    )
    with pytest.raises(ValidationError):
        source.uri = "y.nc"


def test_a_packaged_catalog_is_read_by_its_name_and_any_by_its_path(tmp_path: Path) -> None:
    catalog = read_catalog("quickstart.yml", data=tmp_path)
    assert catalog["precipitation"].uri.startswith(str(tmp_path))
    path = tmp_path / "own.yml"
    path.write_text('a: {uri: "${data}/x.nc", driver: netcdf, variables: {rain: {name: v}}}\n')
    for paths in (path, str(path), [path]):
        assert read_catalog(paths, data="/d")["a"].uri == "/d/x.nc"
    assert set(read_catalog(["quickstart.yml", path], data="/d").sources) > {"precipitation", "a"}
    with pytest.raises(InputError, match=r'no such file.*Did you mean "quickstart.yml"'):
        read_catalog("quickstat.yml")


def test_sources_are_selected_in_the_order_asked_for_or_all_unknown_ones_named() -> None:
    catalog = read_catalog("quickstart.yml", data="/d")
    chosen = catalog.select("elevation", "precipitation")
    assert [source.name for source in chosen] == ["elevation", "precipitation"]
    assert catalog.select() == ()
    with pytest.raises(InputError) as caught:
        catalog.select("elevation", "rain", "snow_amont")
    assert [fault.found for fault in caught.value.faults] == [
        'no source "rain"', 'no source "snow_amont"'
    ]  # fmt: skip


def test_control_characters_in_any_text_are_refused(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'a: {uri: x.nc, driver: netcdf, title: "a\\x07", variables: {rain: {name: v}}}\n'
        'variables: {rain: {units: mm, standard_name: x, long_name: "\\x1b[1m"}}\n',
    )
    found = [fault.where for fault in refused(path).faults]
    assert {"my.yml: a.title", "my.yml: variables.rain.long_name"} <= set(found)
