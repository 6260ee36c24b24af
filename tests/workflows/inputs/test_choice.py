"""The model that is mapped is the best on validation cells of those that can be mapped."""

from __future__ import annotations

import pytest

from pipeline.core.errors import InputError
from workflows.inputs.choice import Choice, choose

RANKING = ["persistence", "gradient_boosting", "stefaland"]


def why_not(model: str) -> str:
    return "it is not kept" if model == "persistence" else ""


def test_the_best_that_can_be_mapped_is_chosen_and_says_why() -> None:
    found = choose("best", RANKING, "median NSE", why_not)
    assert found.model == "gradient_boosting"
    assert found.sentence == (
        "The maps are of gradient_boosting: the best of those that can be mapped on validation "
        "cells by median NSE; not persistence, because it is not kept"
    )
    found = choose("best", RANKING[1:], "pooled RMSE", why_not)
    assert found.reason == "the best of 2 models on validation cells by pooled RMSE"


def test_a_named_model_is_mapped_or_refused() -> None:
    assert choose("stefaland", [], "", why_not) == Choice("stefaland", "predict.model names it")
    with pytest.raises(InputError, match="persistence, but it is not kept"):
        choose("persistence", [], "", why_not)


def test_without_scores_of_validation_cells_stefaland_is_mapped() -> None:
    found = choose("best", [], "", why_not)
    assert (found.model, "no scores of validation cells" in found.reason) == ("stefaland", True)
