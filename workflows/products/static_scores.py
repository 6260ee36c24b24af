"""Scores of static targets, one value for each site: compositions and probabilities.

They replace the scores of series in scorecard.json and the report.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import rel_entr
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    r2_score,
    roc_auc_score,
)

from pipeline.maps.texture import CLASSES, FRACTIONS, usda_class
from stefaland.metrics import paired_difference
from stefaland.model.losses import MIN_PROBABILITY
from stefaland.tasks import values_of

RANK = {"composition": "RMSE", "probability": "Brier"}
"""The score that ranks models, by kind of values; both are errors, so lower is better."""
THRESHOLD = 0.5
BINS = 10
MIN_SITES = 5
"""Minimum mean number of sites in a region for scores by region."""


def composition_scores(
    observed: np.ndarray, predicted: np.ndarray, names: list[str]
) -> dict[str, float]:
    """RMSE over all fractions [N, O], and RMSE and R2 of each.

    Sand, silt and clay also have the accuracy and macro F1 of their USDA class. R2 is NaN for a
    fraction that is the same at all sites.
    """
    scores: dict[str, Any] = {"RMSE": float(np.sqrt(np.mean((predicted - observed) ** 2)))}
    for i, name in enumerate(names):
        error = np.sqrt(np.mean((predicted[:, i] - observed[:, i]) ** 2))
        scores[f"RMSE {name}"] = float(error)
        varies = np.unique(observed[:, i]).size > 1
        scores[f"R2 {name}"] = (
            float(r2_score(observed[:, i], predicted[:, i])) if varies else np.nan
        )
    if set(names) == set(FRACTIONS):
        truth, guess = (
            usda_class(*(values[:, names.index(part)] for part in FRACTIONS))
            for values in (observed, predicted)
        )
        scores["accuracy"] = float(accuracy_score(truth, guess))
        # The F1 score of a class that is not observed is undefined, so it is left out.
        occurring = np.unique(truth)
        scores["macro F1"] = float(
            f1_score(truth, guess, labels=occurring, average="macro", zero_division=0.0)
        )
    return scores


def probability_scores(observed: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """AUC, F1 at 0.5, Brier score and expected calibration error of probabilities [N, 1].

    AUC is NaN where only one class is observed.
    """
    truth, probability = observed[:, 0].astype(int), predicted[:, 0]
    both = np.unique(truth).size == 2
    return {
        "Brier": float(np.mean((truth - probability) ** 2)),
        "AUC": float(roc_auc_score(truth, probability)) if both else np.nan,
        "F1": float(f1_score(truth, probability >= THRESHOLD, zero_division=0.0)),
        "ECE": expected_calibration_error(truth, probability),
    }  # fmt: skip


def expected_calibration_error(truth: np.ndarray, probability: np.ndarray) -> float:
    """Mean absolute difference of predicted probability and observed frequency (Guo et al. 2017).

    The mean is over ten bins of equal width, weighted by the number of sites in each.
    """
    bin_number = np.minimum((probability * BINS).astype(int), BINS - 1)
    count = np.bincount(bin_number, minlength=BINS)
    gap = np.bincount(bin_number, probability - truth, minlength=BINS)
    return float(np.abs(gap).sum() / max(count.sum(), 1))


def reliability(task: str, observed: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Scores of predictions [N, O] that calibration by a temperature changes.

    Probabilities have the Brier score and the expected calibration error, compositions the mean
    Kullback-Leibler divergence from the observed ones, in nats.
    """
    if values_of(task) == "probability":
        scores = probability_scores(observed, predicted)
        return {name: scores[name] for name in ("Brier", "ECE")}
    return {
        "divergence": float(
            rel_entr(observed, np.maximum(predicted, MIN_PROBABILITY)).sum(-1).mean()
        )
    }


def calibration_effect(
    task: str, table: xr.Dataset, model: str
) -> dict[str, dict[str, dict[str, float]]]:
    """`uncertainty` of a model's scores: its reliability at held-out sites with and without
    calibration; empty for models without calibration.
    """
    chosen = table.sel(model=model)
    if not np.isfinite(chosen["uncalibrated"].values).all() or not chosen.sizes["site"]:
        return {}
    observed = chosen["observed"].values
    return {
        "uncertainty": {
            "uncalibrated": reliability(task, observed, chosen["uncalibrated"].values),
            "calibrated": reliability(task, observed, chosen["predicted"].values),
        }
    }


def scores_of(task: str, table: xr.Dataset, model: str) -> dict[str, float]:
    """All scores of one model at the sites of a table, all of which must have a prediction."""
    observed = table["observed"].values
    predicted = table["predicted"].sel(model=model).values
    if values_of(task) == "composition":
        return composition_scores(observed, predicted, [str(n) for n in table["part"].values])
    return probability_scores(observed, predicted)


def site_groups(table: xr.Dataset) -> dict[str, np.ndarray]:
    """Labels of the sites by which a scorecard is divided: group → label of each site.

    The groups are folds, regions if they hold several sites, and the observed USDA class.
    """
    groups = {"folds": table["fold"].values}
    regions = table["region"].values.astype(str)
    if np.unique(regions).size <= regions.size / MIN_SITES:
        groups["regions"] = regions
    names = [str(name) for name in table["part"].values]
    if set(names) == set(FRACTIONS):
        codes = usda_class(*(table["observed"].sel(part=part).values for part in FRACTIONS))
        groups["classes"] = np.array([CLASSES[code - 1] for code in codes], dtype=str)
    return groups


def static_predicted_by_all(table: xr.Dataset) -> tuple[xr.Dataset, int]:
    """The table of the sites that every model predicts, and the number of sites left out."""
    complete = np.isfinite(table["predicted"].values).all((0, 2))
    return table.isel(site=complete), int((~complete).sum())


def static_scorecard(table: xr.Dataset, task: str, seed: int) -> dict[str, Any]:
    """Scores of all models of a table of held-out sites, their ranking and paired differences.

    The differences are those of StefaLand, the first model, from each of the others. `table` has
    only sites that every model predicts (`static_predicted_by_all`).
    """
    models = table["model"].values.astype(str).tolist()
    by_model: dict[str, dict[str, Any]] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not well-defined.*")
        for model in models:
            by_model[model] = {"pooled": scores_of(task, table, model)} | {
                name: {
                    label: scores_of(task, table.isel(site=labels == label), model)
                    for label in np.unique(labels).tolist()
                }
                for name, labels in site_groups(table).items()
            }
            by_model[model] |= calibration_effect(task, table, model)
    rank = RANK[values_of(task)]
    gap = table["predicted"].values - table["observed"].values
    stefaland, *others = np.sqrt((gap**2).mean(-1))
    return {
        "task": task,
        "rank_by": {"metric": rank, "over": "pooled"},
        "sites": int(table.sizes["site"]),
        "models": by_model,
        "ranking": sorted(by_model, key=lambda model: by_model[model]["pooled"][rank]),
        "stefaland_minus": {
            model: {"metric": "RMSE", **paired_difference(-stefaland, -error, seed=seed)}
            for model, error in zip(models[1:], others, strict=True)
        },
    }
