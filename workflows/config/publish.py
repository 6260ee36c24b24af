"""The `publish` section of a run's settings, and the locations at which its maps are checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from pipeline.core.errors import InputError, bad_input, nearest_name
from pipeline.core.packaged import packaged_catalogs
from pipeline.core.settings import Frozen, Limit, later
from pipeline.core.written.names import PathName
from pipeline.maps.aggregate import MIN_VALID_SHARE, check_aggregate
from pipeline.maps.legend import Legend, read_legend


class Product(Frozen):
    """One published map: a predicted cube on its own grid or warped onto another."""

    cube: str
    grid: str | None = None
    suffix: Annotated[PathName, Field(pattern=r"^[A-Za-z0-9_]+$")]
    """End of the file name: `<target>_<suffix>.tif`."""
    aggregate: str = "none"
    """Aggregate over time: monthly, seasonal, annual, mean, climatology, anomaly, a percentile such
    as p10, or several, [p10, p50, p90], a band each; by default each predicted step is a band."""
    min_valid_share: float = Field(MIN_VALID_SHARE, gt=0, le=1)
    """Minimum fraction of a period's time with values; below it the aggregate is missing."""
    legend: PathName | None = None
    """Name of the legend of this product; by default that of all products."""

    @field_validator("aggregate", mode="before")
    @classmethod
    def _one_text(cls, aggregate: Any) -> Any:
        if not isinstance(aggregate, list | tuple):
            return aggregate
        return ",".join(str(part).strip() for part in aggregate)

    @model_validator(mode="after")
    def _known_aggregate(self) -> Product:
        try:
            check_aggregate(self.aggregate)
        except InputError as error:
            raise ValueError(f"aggregate: {error}") from None
        return self


class Basins(Frozen):
    """Polygons of the scored sites: a vector source, and its column with the ids of the sites."""

    source: str
    column: str


class TargetLegends(Frozen):
    """Names of the legends of one target's maps and of those of its spread."""

    legend: PathName
    spread_legend: PathName


class PublishSettings(Frozen):
    """Settings of maps, their legends, outlines on previews, and basins shown with scores."""

    products: tuple[Product, ...] = ()
    legend: PathName | None = None
    spread_legend: PathName | None = None
    legends: dict[PathName, Legend] = later({})
    """Legends of this run by name, with the keys of catalogs/legends/*.yml."""
    of_target: dict[PathName, TargetLegends] = later({})
    """Legends by target, for those of several targets that need others than `legend`, such as
    `{streamflow: {legend: streamflow, spread_legend: streamflow_spread}}`."""
    outlines: str | None = None
    basins: Basins | None = None

    @field_validator("legends", mode="before")
    @classmethod
    def _named(cls, legends: Any) -> Any:
        if not isinstance(legends, Mapping):
            return legends
        return {
            name: {"name": name, **legend} if isinstance(legend, Mapping) else legend
            for name, legend in legends.items()
        }

    @model_validator(mode="after")
    def _each_map_once(self) -> PublishSettings:
        names = [product.suffix for product in self.products]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"several products with the suffix {', '.join(repeated)}")
        return self

    @model_validator(mode="after")
    def _maps_have_legends(self) -> PublishSettings:
        if self.products and not (self.legend and self.spread_legend):
            raise ValueError("products without a legend and a spread_legend")
        return self

    def legend_named(self, name: str) -> Legend:
        """The legend of that name, of this run or packaged; `InputError` where there is none."""
        if name in self.legends:
            return self.legends[name]
        there = packaged_catalogs() / "legends"
        path = there / f"{name}.yml"
        if path.is_file():
            return read_legend(path)
        known = sorted(item.stem for item in there.glob("*.yml"))
        raise bad_input(
            f'publish: legend "{name}"', "no legend of this name",
            f"one of {', '.join([*self.legends, *known])}",
            f"{nearest_name(name, known)} Write your own in legends/{name}.yml beside the config,"
            f" or under `publish: {{legends: {{{name}: …}}}}`: title, kind, units, stops.".strip(),
        )  # fmt: skip

    def legend_of(self, product: Product, target: str = "") -> str | None:
        """Name of the legend of a product's maps of a target.

        It is the target's, the product's or the common one; anomalies have the `_anomaly` of that
        of the target, or of the common one.
        """
        own = self.of_target.get(target)
        if own is None and product.legend:
            return product.legend
        legend = own.legend if own else self.legend
        return f"{legend}_anomaly" if product.aggregate == "anomaly" else legend

    def spread_legend_of(self, target: str) -> str | None:
        """Name of the legend of the spread of a target."""
        own = self.of_target.get(target)
        return own.spread_legend if own else self.spread_legend

    @property
    def legend_names(self) -> tuple[str, ...]:
        """Names of all legends of targets, spreads and products, each once."""
        names = [self.legend, self.spread_legend, *map(self.legend_of, self.products)]
        for target, own in self.of_target.items():
            names += [own.legend, own.spread_legend]
            names += [self.legend_of(product, target) for product in self.products]
        return tuple(dict.fromkeys(name for name in names if name))


class KnownLocation(Frozen):
    """A location whose published annual mean is known to lie between two bounds."""

    name: str
    lon: float = Field(ge=-180, le=180)
    lat: float = Field(ge=-90, le=90)
    product: PathName
    variable: PathName | None = None
    """Name of the mapped variable, such as sand; by default the target."""
    minimum: Limit
    maximum: Limit
    why: str = ""
