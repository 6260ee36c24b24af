"""Scores of targets that are one value a place: shares of a whole (soil texture), and chances.

Upstream: held-out predictions of the finetune stage. Downstream: scorecard.json and the report, in
the place of score.py's series.
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
from stefaland.model.losses import LEAST_SHARE
from stefaland.tasks import values_of

RANK = {"composition": "RMSE", "probability": "Brier"}
"""Of each kind of values; both are errors: lower is better."""
THRESHOLD = 0.5
BINS = 10
LEAST_SITES = 5
"""On average, of regions that have scores of their own."""


def composition_scores(
    observed: np.ndarray, predicted: np.ndarray, names: list[str]
) -> dict[str, float]:
    """RMSE and R2 of each share [N, O], RMSE over all; of sand, silt and clay the class too.

    R2 is NaN of a share that is the same at all places.
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
        # Over the classes that occur: a class that nothing has tells nothing.
        occurring = np.unique(truth)
        scores["macro F1"] = float(
            f1_score(truth, guess, labels=occurring, average="macro", zero_division=0.0)
        )
    return scores


def probability_scores(observed: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """AUC, F1 at 0.5, Brier score and expected calibration error of chances [N, 1].

    AUC is NaN where only one class occurs.
    """
    truth, chance = observed[:, 0].astype(int), predicted[:, 0]
    both = np.unique(truth).size == 2
    return {
        "Brier": float(np.mean((truth - chance) ** 2)),
        "AUC": float(roc_auc_score(truth, chance)) if both else np.nan,
        "F1": float(f1_score(truth, chance >= THRESHOLD, zero_division=0.0)),
        "ECE": expected_calibration_error(truth, chance),
    }  # fmt: skip


def expected_calibration_error(truth: np.ndarray, chance: np.ndarray) -> float:
    """How far chances are from how often they come true: the mean over ten bins of equal width,
    weighted by the places in each (Guo et al. 2017).
    """
    place = np.minimum((chance * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    gap = np.bincount(place, chance - truth, minlength=BINS)
    return float(np.abs(gap).sum() / max(count.sum(), 1))


def reliability(task: str, observed: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """What a temperature changes of predictions [N, O]: of chances their Brier score and expected
    calibration error, of shares their divergence from the observed ones, in nats.
    """
    if values_of(task) == "probability":
        scores = probability_scores(observed, predicted)
        return {name: scores[name] for name in ("Brier", "ECE")}
    return {
        "divergence": float(rel_entr(observed, np.maximum(predicted, LEAST_SHARE)).sum(-1).mean())
    }


def calibration_effect(
    task: str, table: xr.Dataset, model: str
) -> dict[str, dict[str, dict[str, float]]]:
    """`uncertainty` of a model's scores: the held-out places' reliability without calibration and
    with it; nothing of models that have none.
    """
    of = table.sel(model=model)
    if not np.isfinite(of["uncalibrated"].values).all() or not of.sizes["site"]:
        return {}
    observed = of["observed"].values
    return {
        "uncertainty": {
            "uncalibrated": reliability(task, observed, of["uncalibrated"].values),
            "calibrated": reliability(task, observed, of["predicted"].values),
        }
    }


def scores_of(task: str, table: xr.Dataset, model: str) -> dict[str, float]:
    """All scores of one model on the places of a table; those it predicted nothing for are left
    out by all models alike.
    """
    observed = table["observed"].values
    predicted = table["predicted"].sel(model=model).values
    if values_of(task) == "composition":
        return composition_scores(observed, predicted, [str(n) for n in table["part"].values])
    return probability_scores(observed, predicted)


def place_groups(table: xr.Dataset) -> dict[str, np.ndarray]:
    """Labels of the sites by which a scorecard has tables: folds, regions that hold several sites,
    and the observed USDA class of soil texture.
    """
    groups = {"folds": table["fold"].values}
    regions = table["region"].values.astype(str)
    if np.unique(regions).size <= regions.size / LEAST_SITES:
        groups["regions"] = regions
    names = [str(name) for name in table["part"].values]
    if set(names) == set(FRACTIONS):
        codes = usda_class(*(table["observed"].sel(part=part).values for part in FRACTIONS))
        groups["classes"] = np.array([CLASSES[code - 1] for code in codes], dtype=str)
    return groups


def predicted_places(table: xr.Dataset) -> tuple[xr.Dataset, int]:
    """The table with the places alone that every model has a prediction of, and how many were left
    out.
    """
    complete = np.isfinite(table["predicted"].values).all((0, 2))
    return table.isel(site=complete), int((~complete).sum())


def place_scorecard(table: xr.Dataset, task: str, seed: int) -> dict[str, Any]:
    """The scores of all models of a table of held-out places, their ranking, and the paired
    differences of StefaLand, the first, from each of the others.

    `table` has the places alone that every model predicts (`predicted_places`).
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
                for name, labels in place_groups(table).items()
            }
            by_model[model] |= calibration_effect(task, table, model)
    rank = RANK[values_of(task)]
    gap = table["predicted"].values - table["observed"].values
    own, *others = np.sqrt((gap**2).mean(-1))
    return {
        "task": task,
        "rank_by": {"metric": rank, "over": "pooled"},
        "sites": int(table.sizes["site"]),
        "models": by_model,
        "ranking": sorted(by_model, key=lambda model: by_model[model]["pooled"][rank]),
        "stefaland_minus": {
            model: {"metric": "RMSE", **paired_difference(-own, -error, seed=seed)}
            for model, error in zip(models[1:], others, strict=True)
        },
    }
