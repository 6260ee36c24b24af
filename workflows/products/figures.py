"""Figures of the report as PNG data URIs: scatter plots, box plots and example series."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pipeline.publish.png import plain_texts, png_bytes, short_text
from stefaland.metrics import accumulate, finish
from workflows.config.ranking import ScoreSettings
from workflows.products.series_scores import site_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "stefaland": "#0b6e99",
    "stack": "#1f2937",
    "scratch": "#8a63d2",
    "lstm": "#d97706",
    "patchtst": "#be4b7b",
    "gradient_boosting": "#2f855a",
    "ridge": "#6b7280",
    "persistence": "#a08d6f",
    "climatology": "#b8b8b8",
}
BOX_LIMITS = {"NSE": (-1.0, 1.0), "KGE": (-1.0, 1.0), "correlation": (-1.0, 1.0)}


def image_uri(path: Path) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _figure_uri(figure: Figure) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(figure)).decode()


def _axes(width: float, height: float, rows: int = 1) -> tuple[Figure, np.ndarray]:
    # The object interface needs no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, 1, squeeze=False)[:, 0]


@plain_texts()
def scatter(observed: np.ndarray, predicted: np.ndarray, label: str, units: str) -> str:
    """Density of predicted against observed values of all held-out sites and times."""
    figure, (axis,) = _axes(4.6, 4.2)
    valid = np.isfinite(observed) & np.isfinite(predicted)
    x, y = observed[valid], predicted[valid]
    axis.hexbin(x, y, gridsize=45, mincnt=1, bins="log", cmap="viridis", linewidths=0)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    axis.plot([low, high], [low, high], color="#444", linewidth=0.8)
    label, units = short_text(label), short_text(units)
    axis.set(xlabel=f"observed ({units})", ylabel=f"{label} ({units})", title=label)
    return _figure_uri(figure)


@plain_texts()
def series(
    time: np.ndarray,
    observed: Mapping[str, np.ndarray],
    predicted: Mapping[str, Mapping[str, np.ndarray]],
    units: str,
) -> str:
    """Observed and predicted series, one panel for each site; `predicted[model][site]` is [T]."""
    sites = list(observed)
    figure, axes = _axes(7.5, 2.1, len(sites))
    for axis, site in zip(axes, sites, strict=True):
        axis.plot(time, observed[site], color="black", linewidth=1.6, label="observed")
        for model, by_site in predicted.items():
            colour = COLOURS.get(model, "#999999")
            axis.plot(time, by_site[site], color=colour, linewidth=1.1, label=model)
        axis.set_title(short_text(site), fontsize=9, loc="left")
        axis.set_ylabel(short_text(units), fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0].legend(fontsize=7, ncols=len(predicted) + 1, frameon=False, loc="upper right")
    figure.tight_layout()
    return _figure_uri(figure)


@plain_texts()
def boxes(scores: Mapping[str, np.ndarray], metric: str, limits: tuple[float, float]) -> str:
    """Distribution of a score over held-out sites, one box for each model, without outliers."""
    figure, (axis,) = _axes(4.6, 4.2)
    names: Sequence[str] = list(scores)
    values = [scores[name][np.isfinite(scores[name])] for name in names]
    drawn = axis.boxplot(values, showfliers=False, patch_artist=True, widths=0.6)
    for box, name in zip(drawn["boxes"], names, strict=True):
        box.set_facecolor(COLOURS.get(name, "#cccccc"))
    axis.set_xticks(range(1, len(names) + 1), names, rotation=20)
    axis.set(ylabel=metric, ylim=limits, title=f"{metric} over held-out sites")
    return _figure_uri(figure)


def report_figures(
    table: xr.Dataset, card: Mapping[str, Any], settings: ScoreSettings
) -> list[dict[str, str]]:
    """The figures of a scorecard and its table of held-out values, each with its caption."""
    if "parts" in card:
        return _static_figures(table, card)
    observed = table["observed"].values
    figures = []
    for model in dict.fromkeys(["stefaland", card["ranking"][0]]):
        image = scatter(observed, table["predicted"].sel(model=model).values, model, card["units"])
        figures.append({"image": image, "caption": f"{model}: every held-out site and time"})
    metric = settings.metric if settings.over == "sites" else "correlation"
    by_site = {
        model: site_scores(table, model, metric)
        for model in table["model"].values.astype(str).tolist()
    }
    limits = BOX_LIMITS.get(metric, (0.0, float(np.nanmax(list(by_site.values())))))
    figures.append({"image": boxes(by_site, metric, limits), "caption": f"{metric} of each site"})
    figures.append(
        {
            "image": _example_series(table, card, settings.examples),
            "caption": "Series at held-out sites",
        }
    )
    return figures


def _example_series(table: xr.Dataset, card: Mapping[str, Any], examples: int) -> str:
    """Series at sites at evenly spaced ranks of StefaLand's error, from small to large errors."""
    moments = accumulate(table["observed"].values, table["predicted"].sel(model="stefaland").values)
    error = finish(moments)["RMSE"]
    order = np.flatnonzero(np.isfinite(error))[np.argsort(error[np.isfinite(error)])]
    count = min(examples, len(order))
    chosen = order[np.linspace(0, len(order) - 1, count + 2).round().astype(int)[1:-1]]
    labels = {
        int(i): f"site {table['site'].values[i]}, {table['region'].values[i]}" for i in chosen
    }
    shown = list(dict.fromkeys(["stefaland", card["ranking"][0], "climatology"]))
    shown = [model for model in shown if model in table["model"].values]
    return series(
        table["time"].values,
        {label: table["observed"].values[i] for i, label in labels.items()},
        {
            model: {
                label: table["predicted"].sel(model=model).values[i] for i, label in labels.items()
            }
            for model in shown
        },
        card["units"],
    )


def _static_figures(table: xr.Dataset, card: Mapping[str, Any]) -> list[dict[str, str]]:
    """Scatter plots of predicted against observed values, for each part of a static target."""
    return [
        {
            "image": scatter(
                table["observed"].sel(part=part).values,
                table["predicted"].sel(model=model, part=part).values, f"{model}: {part}", "1",
            ),
            "caption": f"{model}: {part} of every held-out site",
        }
        for model in dict.fromkeys(["stefaland", card["ranking"][0]])
        for part in card["parts"]
    ]  # fmt: skip
