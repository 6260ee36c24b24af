"""Boosted trees as plain arrays: kept without a pickle, and evaluated by compiled code."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from pipeline.core.compiled import compiled
from pipeline.core.errors import bad_input
from stefaland.baselines.features import Array

ROWS = 4096
"""Number of rows that are evaluated at once; threads share the others."""


@dataclass(frozen=True, kw_only=True)
class BoostedTrees:
    """The nodes of all trees in one row, each tree from its root on; children are given by number.

    A leaf is its own left child.
    """

    base: Array
    """Value [1] to which those of the trees are added."""
    roots: NDArray[np.int64]
    """Number [n] of each tree's root."""
    feature: NDArray[np.int64]
    threshold: Array
    """Largest value of the feature that goes to the left."""
    missing_left: NDArray[np.bool_]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: Array

    @classmethod
    def of(cls, fitted: HistGradientBoostingRegressor) -> BoostedTrees:
        """The trees that scikit-learn fitted, for features that are numbers."""
        nodes = [tree.nodes for (tree,) in fitted._predictors]
        sizes = np.array([len(each) for each in nodes], np.int64)
        roots = np.cumsum(sizes) - sizes
        whole = np.concatenate(nodes) if nodes else np.zeros(0, _NO_NODE)
        first = np.repeat(roots, sizes)
        own, leaf = np.arange(len(whole)), whole["is_leaf"].astype(bool)
        return cls(
            base=np.asarray(fitted._baseline_prediction, np.float64).reshape(1),
            roots=roots,
            feature=whole["feature_idx"].astype(np.int64),
            threshold=whole["num_threshold"].astype(np.float64),
            missing_left=whole["missing_go_to_left"].astype(bool),
            left=np.where(leaf, own, first + whole["left"]),
            right=np.where(leaf, own, first + whole["right"]),
            value=whole["value"].astype(np.float64),
        )

    def predict(self, x: Array) -> Array:
        """The sum [n] of the trees' values for features [n, P], in as many threads as torch has."""
        if len(self.feature) and not 0 <= self.feature.min() <= self.feature.max() < x.shape[1]:
            # Compiled code reads what it is told to.
            raise bad_input("boosted trees", f"{x.shape[1]} features", "those they were fitted to")
        out = np.full(len(x), self.base[0])
        trees = (self.roots, self.feature, self.threshold, self.missing_left, self.left, self.right,
                 self.value)  # fmt: skip
        parts = [slice(first, first + ROWS) for first in range(0, len(x), ROWS)]
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            # The list raises what a thread raised.
            list(threads.map(lambda rows: _add_trees(x[rows], out[rows], *trees), parts))
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], where: str) -> BoostedTrees:
        """The trees of `arrays`; `InputError` for nodes that are not there or paths without end."""
        try:
            trees = cls(**arrays)
        except TypeError as error:
            raise bad_input(where, str(error), "the arrays of boosted trees") from None
        nodes = len(trees.value)
        own = np.arange(nodes)
        wrong = [name for name in ("roots", "left", "right")
                 if ((values := arrays[name]) < 0).any() or (values >= nodes).any()]  # fmt: skip
        sizes = {len(values) for name, values in arrays.items() if name not in ("base", "roots")}
        # A child comes after its parent, so that every path ends.
        leaf = trees.left == own
        backward = (~leaf & ((trees.left <= own) | (trees.right <= own))).any()
        if wrong or sizes != {nodes} or backward or trees.base.shape != (1,):
            what = ", ".join(wrong) or "nodes"
            raise bad_input(where, f"trees with wrong {what}", "numbers of nodes")
        return trees


_NO_NODE = [("is_leaf", "u1"), ("feature_idx", "i8"), ("num_threshold", "f8"), ("value", "f8"),
            ("missing_go_to_left", "u1"), ("left", "i8"), ("right", "i8")]  # fmt: skip


@compiled
def _add_trees(  # type: ignore[no-untyped-def]
    x, out, roots, feature, threshold, missing_left, left, right, value
):  # fmt: skip
    """Add the value of each tree to the rows of `out`; tree by tree, as scikit-learn does."""
    for root in roots:
        for row in range(len(x)):
            node = root
            while left[node] != node:
                one = x[row, feature[node]]
                to_left = missing_left[node] if np.isnan(one) else one <= threshold[node]
                node = left[node] if to_left else right[node]
            out[row] += value[node]
