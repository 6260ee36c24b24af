"""Legends: colours, classes and units of maps, read from `catalogs/legends/*.yml`.

QGIS styles, colour tables, previews and the report's plots all take their colours from a legend.
"""

from __future__ import annotations

from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.settings import Frozen, read_mapping, validated
from pipeline.core.written.characters import checked_characters

if TYPE_CHECKING:
    from matplotlib.colors import Colormap, Normalize

NODATA_CODE = 255
"""Code of missing cells in every map of classes or flags."""

Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]
Text = Annotated[str, AfterValidator(checked_characters)]


class Stop(Frozen):
    """Colour and label of one value of a quantity, or of one class code."""

    value: float
    colour: Colour
    label: Text

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0..255."""
        return int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16)


class Legend(Frozen):
    """Colours of one kind of map; `stops` are interpolated values of a quantity, or classes."""

    name: str
    title: Text
    kind: Literal["continuous", "categorical"]
    units: Text = ""
    source: str = ""
    stops: tuple[Stop, ...]

    @field_validator("stops", mode="before")
    @classmethod
    def _label_by_value(cls, stops: object) -> object:
        if not isinstance(stops, list):
            return stops
        return [
            {"label": f"{stop['value']:g}", **stop}
            if isinstance(stop, dict) and isinstance(stop.get("value"), (int, float))
            else stop
            for stop in stops
        ]

    @model_validator(mode="after")
    def _check_values(self) -> Legend:
        values = [stop.value for stop in self.stops]
        if len(values) < 2:
            raise ValueError(f"a legend needs at least two stops, found {len(values)}")
        if any(b <= a for a, b in pairwise(values)):
            raise ValueError(f"stops must ascend, found {values}")
        codes = range(NODATA_CODE)
        if self.kind == "categorical" and any(value not in codes for value in values):
            raise ValueError(f"class codes must be whole numbers 0..{NODATA_CODE - 1}")
        return self

    @property
    def minimum(self) -> float:
        """Value of the first stop."""
        return self.stops[0].value

    @property
    def maximum(self) -> float:
        """Value of the last stop."""
        return self.stops[-1].value

    @property
    def colour_table(self) -> dict[int, tuple[int, int, int, int]]:
        """RGBA of all 256 codes of a uint8 map; codes without a class are transparent."""
        classes = {int(stop.value): (*stop.rgb, 255) for stop in self.stops}
        return {code: classes.get(code, (0, 0, 0, 0)) for code in range(256)}

    @cached_property
    def colormap(self) -> Colormap:
        """The matplotlib colour map; missing values are transparent."""
        from matplotlib.colors import LinearSegmentedColormap, ListedColormap

        colours = [stop.colour for stop in self.stops]
        if self.kind == "categorical":
            cmap: Colormap = ListedColormap(colours, name=self.name)
        else:
            span = self.maximum - self.minimum
            positions = [(stop.value - self.minimum) / span for stop in self.stops]
            pairs = list(zip(positions, colours, strict=True))
            cmap = LinearSegmentedColormap.from_list(self.name, pairs, N=1024)
        return cmap.with_extremes(bad=(0.0, 0.0, 0.0, 0.0))

    @cached_property
    def norm(self) -> Normalize:
        """The matplotlib norm for `colormap`."""
        from matplotlib.colors import BoundaryNorm, Normalize

        if self.kind == "continuous":
            return Normalize(self.minimum, self.maximum)
        values = [stop.value for stop in self.stops]
        middles = [(a + b) / 2 for a, b in pairwise(values)]
        return BoundaryNorm([values[0] - 0.5, *middles, values[-1] + 0.5], len(values))


def read_legend(path: str | Path) -> Legend:
    """The legend of a YAML file; `InputError` lists all faults of the file.

    >>> legend = named_legend("soil_moisture")
    >>> legend.units, legend.minimum
    ('m3 m-3', 0.0)
    """
    path = Path(path)
    entry = read_mapping(path, "a legend, as in catalogs/legends")
    return validated(Legend, entry, path.name)


def named_legend(name: str) -> Legend:
    """The packaged legend `name`, or that of the file `name`; `InputError` where there is none."""
    if Path(name).is_file():
        return read_legend(name)
    folder = resources.files("catalogs") / "legends"
    known = sorted(item.name[:-4] for item in folder.iterdir() if item.name.endswith(".yml"))
    if name not in known:
        expected = f"a file, or one of {', '.join(known)}"
        raise bad_input("legend", f'"{name}"', expected, nearest_name(name, known))
    return read_legend(str(folder / f"{name}.yml"))
