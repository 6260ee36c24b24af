"""Commands to begin with data of one's own: a config, catalog entries and grids from files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from workflows.cli.data import DATA, Data, catalog_app
from workflows.cli.options import Json, examples, separated
from workflows.console import print_json

PANEL = "Begin"
app = typer.Typer()
grid_app = typer.Typer(no_args_is_help=True)

Crs = Annotated[
    str | None, typer.Option(help="CRS of the grid, such as EPSG:3035, WKT or a PROJ string.")
]
Resolution = Annotated[float | None, typer.Option(help="Cell size in units of the CRS.")]
Like = Annotated[
    Path | None, typer.Option(help="Raster or NetCDF file with the wanted grid, instead of these.")
]


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "stefaland init", "stefaland init alps --data data --crs EPSG:3035 --resolution 5000"
    ),
)
def init(
    name: Annotated[str, typer.Argument(help="Name of the config and of the run.")] = "my_run",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the data, all of whose files are looked at.", envvar="STEFALAND_DATA"
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,C", help="Variable to predict; by default that of the stations."),
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Name of a packaged grid or of one in grids.yml.")
    ] = None,
    crs: Crs = None,
    resolution: Resolution = None,
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="W S E N", help="Region in degrees; by default where all grids are."),
    ] = None,
    like: Like = None,
    period: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="FIRST LAST", help="Days of the run; by default those of all series."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder in which the files are written.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a config and a catalog for a folder of files, and name what is left to decide.

    At a terminal what no option says is asked. A catalog.yml that is there is used as it is.
    """  # fmt: skip
    from workflows.commands.data.init import Wishes, print_started, start

    wishes = Wishes(tuple(separated(target)), grid, like, crs, bounds, resolution, period)
    asks = sys.stdin.isatty() and not as_json
    document = start(name, folder, data, wishes, _ask if asks else None)
    print_json(document) if as_json else print_started(document)


def _ask(question: str, default: str | None) -> str:
    return str(typer.prompt(question, default=default, err=True))


@catalog_app.command(
    "add", epilog=examples("stefaland catalog add 'era5_land/*.nc' dem.tif stations.csv --data .")
)
def catalog_add(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES", help="Paths, folders or globs in quotes.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the source; by default that of its files.")
    ] = None,
    file: Annotated[Path, typer.Option(help="Catalog to which the entries are added.")] = Path(
        "catalog.yml"
    ),
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Draft catalog entries from files, and name what they leave open.

    Lines with "decide:" in the catalog say what a person must decide.
    """  # fmt: skip
    from workflows.commands.data.draft import add_sources, print_drafts

    document = add_sources(files, name, file, data)
    print_json(document) if as_json else print_drafts(document)


@grid_app.command(
    "add",
    epilog=examples(
        "stefaland grid add alps_1km --crs EPSG:3035 --resolution 1000 --degrees"
        " --bounds 10 46 12 48",
        "stefaland grid add alps_dem --like dem.tif",
    ),
)
def grid_add(
    name: Annotated[str, typer.Argument(help="Name of the grid.")],
    crs: Crs = None,
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="W S E N", help="Edges in units of the CRS."),
    ] = None,
    resolution: Resolution = None,
    like: Like = None,
    degrees: Annotated[
        bool,
        typer.Option(
            "--degrees", help="Read bounds as degrees; the grid is widened to whole cells."
        ),
    ] = False,
    file: Annotated[Path, typer.Option(help="File to which the grid is added.")] = Path(
        "grids.yml"
    ),
    as_json: Json = False,
) -> None:
    """Add a target grid of your own to the grids.yml beside your configs."""
    from workflows.commands.data.grids import add_grid, new_grid, print_grid

    document = add_grid(new_grid(name, crs, bounds, resolution, like, degrees), file)
    print_json(document) if as_json else print_grid(document)
