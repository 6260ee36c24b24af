from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.maps.legend import Legend, named_legend, read_legend
from pipeline.publish.qml import read_qml, write_qml

NAMES = sorted(
    item.name.removesuffix(".yml")
    for item in (resources.files("catalogs") / "legends").iterdir()
    if item.name.endswith(".yml")
)


def lightness(rgb: tuple[int, int, int]) -> float:
    """CIE L* of an sRGB colour."""
    channels = np.array(rgb) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return 116 * luminance ** (1 / 3) - 16


@pytest.mark.parametrize("name", NAMES)
def test_packaged_legend_is_named_as_its_file(name: str) -> None:
    assert named_legend(name).name == name


@pytest.mark.parametrize("name", [n for n in NAMES if named_legend(n).kind == "continuous"])
def test_quantities_read_in_grey_too(name: str) -> None:
    falling = np.diff([lightness(stop.rgb) for stop in named_legend(name).stops])
    middle = falling.size // 2 if name.endswith("_anomaly") else 0
    assert (falling[:middle] > 0).all()
    assert (falling[middle:] < 0).all()


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("_anomaly")])
def test_departures_are_brown_and_green_about_white(name: str) -> None:
    legend = named_legend(name)
    values = np.array([stop.value for stop in legend.stops])
    np.testing.assert_array_equal(values, -values[::-1])
    assert legend.colormap(legend.norm(0))[:3] == pytest.approx((1, 1, 1), abs=4e-3)
    dry, wet = (legend.colormap(legend.norm(sign * legend.maximum / 2)) for sign in (-1, 1))
    assert dry[0] > dry[1] > dry[2]
    assert wet[2] > wet[0] < wet[1]
    assert legend.units == named_legend(name.removesuffix("_anomaly")).units


def test_the_twelve_texture_classes() -> None:
    legend = named_legend("usda_texture")
    assert [stop.value for stop in legend.stops] == list(range(1, 13))
    assert len({stop.colour for stop in legend.stops}) == 12
    assert legend.stops[0].label == "clay"
    assert legend.stops[-1].colour == "#ff005b"


@pytest.mark.parametrize("name", NAMES)
def test_style_file_agrees_with_its_legend(name: str, tmp_path: Path) -> None:
    legend = named_legend(name)
    kind, entries = read_qml(write_qml(tmp_path / "map.tif", legend, band=3))
    assert kind == legend.kind
    assert entries == {stop.value: (stop.colour, stop.label) for stop in legend.stops}
    text = (tmp_path / "map.qml").read_text()
    assert 'band="3"' in text
    if kind == "continuous":
        assert f'classificationMax="{legend.maximum!r}"' in text
    assert write_qml(tmp_path / "again.qml", legend, band=3).read_text() == text


@pytest.mark.parametrize("name", NAMES)
def test_plots_take_the_same_colours(name: str) -> None:
    legend = named_legend(name)
    for stop in legend.stops:
        drawn = legend.colormap(legend.norm(stop.value))
        np.testing.assert_allclose(drawn[:3], np.array(stop.rgb) / 255, atol=3e-3)
    assert legend.colormap(np.ma.masked)[3] == 0


@given(st.lists(st.floats(0, 100, allow_nan=False), min_size=2, max_size=6, unique=True))
def test_any_ascending_stops_survive_the_style(values: list[float]) -> None:
    import tempfile

    stops = [{"value": v, "colour": "#0a0b0c"} for v in sorted(values)]
    legend = Legend(name="x", title="x", kind="continuous", stops=stops)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        _, entries = read_qml(write_qml(Path(folder) / "x.qml", legend))
    assert list(entries) == sorted(values)


def test_faults_of_a_legend_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(
        "name: bad\ntitle: Bad\nkind: smooth\nstops:\n"
        "  - {value: 1, colour: red}\n  - {value: 2, colour: '#000000', colur: x}\n"
    )
    with pytest.raises(InputError) as caught:
        read_legend(path)
    where = {fault.where for fault in caught.value.faults}
    assert where == {"bad.yml: kind", "bad.yml: stops.0.colour", "bad.yml: stops.1.colur"}
    assert 'Did you mean "colour"?' in str(caught.value)
    path.write_text(
        "name: bad\ntitle: Bad\nkind: categorical\nstops:\n"
        "  - {value: 300, colour: '#000000'}\n  - {value: 301, colour: '#000000'}\n"
    )
    with pytest.raises(InputError, match="whole numbers"):
        read_legend(path)


def test_an_unknown_legend_is_reported_with_the_nearest() -> None:
    with pytest.raises(InputError, match='Did you mean "soil_moisture"'):
        named_legend("soil_mosture")


def test_a_file_that_is_no_style(tmp_path: Path) -> None:
    (tmp_path / "a.qml").write_text("<qgis><pipe><rasterrenderer type='hillshade'/></pipe></qgis>")
    with pytest.raises(InputError, match="no renderer"):
        read_qml(tmp_path / "a.qml")
    (tmp_path / "a.qml").write_text("<qgis>")
    with pytest.raises(InputError, match="a QGIS style"):
        read_qml(tmp_path / "a.qml")
