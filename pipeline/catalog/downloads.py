"""Downloads: how the files of a source are obtained from their provider (`get` of a product).

Addresses and paths are templates. `{year}`, `{month:02d}`, `{day:02d}`, `{hour:02d}`, `{doy:03d}`
stand for the steps of a period, `{variable}` for the names in `variables`, the keys of `each` for
each of their values, `{lat:02d}`, `{lon:03d}`, `{ns}` and `{ew}` (`{NS}` and `{EW}` in upper case)
for the corner of a tile, `{left}`, `{bottom}`, `{right}` and `{top}` for its edges with their
signs, and `{west}`, `{south}`, `{east}` and `{north}` for the bounds.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.core.settings import Frozen

TIME_KEYS = ("year", "month", "day", "hour", "doy")
TILE_KEYS = ("lat", "lon", "ns", "ew", "NS", "EW", "left", "bottom", "right", "top")
BOUNDS_KEYS = ("west", "south", "east", "north")
_KEY, _FORM = re.compile(r"[A-Za-z_]\w*"), re.compile(r"(0?[1-9]?d)?")
_CHECKSUM = re.compile(r"(md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64})")


def template_keys(template: str) -> set[str]:
    """Return the names in braces of a template.

    Raises `ValueError` for unbalanced braces and for anything else in them than a name, or a name
    with the width of a whole number (`{month:02d}`).

    >>> sorted(template_keys("{year}/{month:02d}.nc"))
    ['month', 'year']
    """
    names = set()
    for _, name, form, conversion in Formatter().parse(template):
        if name is None:
            continue
        if conversion or not (_KEY.fullmatch(name) and _FORM.fullmatch(form or "")):
            found = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(f"{{{found}}} in {template}, instead of {{year}} or {{month:02d}}")
        names.add(name)
    return names


class Tiles(Frozen):
    """Tiles of equal size in degrees, which are named by one of their corners."""

    size: tuple[float, float]
    """Width and height of a tile, degrees."""
    corner: Literal["southwest", "northwest"] = "southwest"
    """Corner whose latitude and longitude name the tile."""
    origin: tuple[float, float] = (0.0, 0.0)
    """Longitude and latitude of the corner of one tile, such as (0, 10) for rows from 10° N."""


class Download(Frozen):
    """Settings of every kind of download."""

    to: str | None = None
    """Path of a file below the data folder; one that ends with `/` is a folder, in which the file
    keeps its name. By default the `uri` of the source."""
    variables: dict[str, str] = Field(default_factory=dict)
    """Canonical variables → names in addresses (`{variable}`) or requests."""
    rate: float = Field(4.0, gt=0)
    """Maximum number of requests per second to one host."""
    parallel: int = Field(4, ge=1, le=32)
    """Maximum number of files that are fetched at the same time."""

    @field_validator("to", "store", check_fields=False)
    @classmethod
    def _plain(cls, template: str | None) -> str | None:
        template_keys(template or "")
        return template


class FilesDownload(Download):
    """Files with addresses that are known, or objects of a public bucket."""

    kind: Literal["http", "s3", "gs"]
    files: tuple[str, ...] = Field(min_length=1)
    """Templates of addresses: https://…, s3://BUCKET/KEY or gs://BUCKET/KEY; `*` stands for
    part of the name of an object or folder, which the bucket lists."""
    each: dict[str, tuple[str | int, ...]] = Field(default_factory=dict)
    """Values of further keys of the templates, such as depths or scenarios; one file for each."""
    tiles: Tiles | None = None
    auth: Literal["none", "earthdata", "netrc"] = "none"
    sparse: bool = False
    """Whether the provider has no file for some tiles, such as those of the sea, which are then
    left out."""
    checksums: dict[str, str] = Field(default_factory=dict)
    """Published checksums by file name: `md5:…`, `sha1:…` or `sha256:…`."""
    unpack: bool = False
    """Whether ZIP and tar archives among the files are unpacked, each beside it into a folder of
    its name; files without a suffix are archives."""

    @field_validator("files", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> FilesDownload:
        schemes = ("http://", "https://") if self.kind == "http" else (f"{self.kind}://",)
        known = {*TIME_KEYS, *BOUNDS_KEYS, *self.each}
        known |= {"variable"} if self.variables else set()
        known |= set(TILE_KEYS) if self.tiles else set()
        for address in self.files:
            if not address.startswith(schemes):
                raise ValueError(f"the address {address} without {' or '.join(schemes)}")
            if self.kind == "http" and "*" in address:
                raise ValueError(f"* in {address}, although only buckets list their objects")
        for template in (*self.files, *([self.to] if self.to else [])):
            if unknown := sorted(template_keys(template) - known):
                raise ValueError(f"{{{unknown[0]}}} in {template}, which has no values")
        for name, checksum in self.checksums.items():
            if not _CHECKSUM.fullmatch(checksum):
                raise ValueError(f"the checksum {checksum} of {name}, not ALGORITHM:HEX")
        return self


class ZarrDownload(Download):
    """The chunks of Zarr stores that meet the bounds and the period, as local stores."""

    kind: Literal["zarr"]
    auth: Literal["none"] = "none"
    store: str
    """Template of the addresses of the stores: https://…, s3://… or gs://…."""


class CdsDownload(Download):
    """Requests to a Climate Data Store (the API of 2024), one for each file that `to` names."""

    kind: Literal["cds"]
    auth: Literal["cds"] = "cds"
    dataset: str
    request: dict[str, Any] = Field(default_factory=dict)
    """What every request has; year, month, day, variable and area are added."""
    hourly: bool = False
    """Whether every request has the 24 hours of its days."""
    dates: tuple[Literal["year", "month", "day"], ...] = ("year", "month", "day")
    """Keys of the dates that every request has; [year] for yearly data."""
    area: bool = True
    """Whether the store cuts files to the bounds."""
    rate: float = Field(1.0, gt=0)
    """Maximum number of requests per second to one host."""
    parallel: int = Field(2, ge=1, le=8)
    """Maximum number of jobs in the queue of the store at the same time."""


class EarthdataDownload(Download):
    """Granules of a NASA collection, which the Common Metadata Repository (CMR) lists."""

    kind: Literal["earthdata"]
    auth: Literal["earthdata"] = "earthdata"
    short_name: str
    collection: str
    """Version of the collection, such as "07"."""
    match: str = "*"
    """Pattern of the file names that are fetched."""
    endpoint: str = "https://cmr.earthdata.nasa.gov"


class ManualDownload(Download):
    """Data that a person must request: the steps to take and where the files belong."""

    kind: Literal["manual"]
    auth: Literal["none"] = "none"
    steps: tuple[str, ...] = Field(min_length=1)


AnyDownload = Annotated[
    FilesDownload | ZarrDownload | CdsDownload | EarthdataDownload | ManualDownload,
    Field(discriminator="kind"),
]
