"""Normalisation of each variable and its inverse: a transform, then the z-score.

The statistics are those of the training cells and period. They are stored in the checkpoint, and
finetuning reuses those of the pretrained encoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import Faults, bad_input, nearest_name

CONSTANT_RATIO = 1e-6
"""Ratio of standard deviation to mean below which a variable counts as constant: it is centred,
not scaled."""
QUADRATURE_NODES = 16


@dataclass(frozen=True)
class Transform:
    """A monotone function of physical values, its inverse, and its lowest valid argument."""

    forward: Callable[[Any], Any]
    inverse: Callable[[Any], Any]
    lowest: float | None = None


def _log_forward(x: Any) -> Any:
    root = x.sqrt() if isinstance(x, Tensor) else np.sqrt(x)
    return (root + 0.1).log10() if isinstance(x, Tensor) else np.log10(root + 0.1)


def _log_inverse(y: Any) -> Any:
    # Below log10(0.1) there is no physical value: the inverse ends at zero.
    root = 10.0**y - 0.1
    return (root.clamp(min=0.0) if isinstance(root, Tensor) else np.maximum(root, 0.0)) ** 2


TRANSFORMS: dict[str, Transform] = {
    "none": Transform(lambda x: x, lambda y: y),
    "log": Transform(_log_forward, _log_inverse, lowest=0.0),
}
"""Transforms by name; `log` is log10(sqrt(x) + 0.1), used for precipitation and streamflow."""


def find_transform(name: str) -> Transform:
    """The named transform; raises `InputError` for an unknown name."""
    if name not in TRANSFORMS:
        known = ", ".join(TRANSFORMS)
        raise bad_input("transform", f'"{name}"', f"one of {known}", nearest_name(name, TRANSFORMS))
    return TRANSFORMS[name]


def _empty_like(values: Tensor) -> Tensor:
    # NumPy requests large pages from the system: new memory then causes far fewer page faults.
    if values.device.type == "cpu":
        return torch.from_numpy(np.empty(values.shape, np.float32))
    return torch.empty_like(values)


@dataclass(frozen=True)
class Scaling:
    """Statistics of one variable: mean and standard deviation of the transformed training values.

    `minimum` and `maximum` are the training range in physical units, where it is known.
    """

    mean: float
    std: float
    transform: str = "none"
    minimum: float | None = None
    maximum: float | None = None

    def forward(self, values: Any) -> Any:
        """Normalised values of the same shape; NaN stays NaN."""
        return (TRANSFORMS[self.transform].forward(values) - self.mean) / self.std

    def inverse(self, values: Any) -> Any:
        """Physical values of the same shape."""
        return TRANSFORMS[self.transform].inverse(values * self.std + self.mean)

    def moments(self, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation in physical units of a normalised normal distribution.

        They are exact without a transform, and otherwise by Gauss-Hermite quadrature: the mean of a
        log-transformed quantity is its mean, not its median.
        """
        if self.transform == "none":
            return self.inverse(mean), scale * self.std
        nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE_NODES)
        first, second = torch.zeros_like(mean), torch.zeros_like(mean)
        centre = self.inverse(mean)
        for node, weight in zip(nodes, weights / math.sqrt(2 * math.pi), strict=True):
            # Deviations from the centre keep their float32 digits where the spread is small.
            deviation = self.inverse(mean + float(node) * scale) - centre
            first = first + float(weight) * deviation
            second = second + float(weight) * deviation**2
        return centre + first, (second - first**2).clamp(min=0.0).sqrt()


def make_scaling(
    count: float, mean: float, m2: float, minimum: float, maximum: float, transform: str = "none"
) -> Scaling:
    """The `Scaling` of a variable whose transformed values have these moments.

    `m2` is the sum of squared deviations; `minimum` and `maximum` are transformed values too.
    Raises `InputError` for a count of 0.
    """
    if not count > 0:
        raise bad_input("training statistics", "no valid value", "at least one")
    std = math.sqrt(max(m2, 0.0) / count)
    if not std > CONSTANT_RATIO * max(abs(mean), CONSTANT_RATIO):
        std = 1.0
    inverse = find_transform(transform).inverse
    return Scaling(float(mean), std, transform, float(inverse(minimum)), float(inverse(maximum)))


def fit_scaling(values: Any, transform: str = "none", name: str = "variable") -> Scaling:
    """The `Scaling` of an array or tensor of physical training values; NaN is left out.

    Raises `InputError` where no value is valid, or one is below the lowest that the transform is
    defined for.
    """
    function = find_transform(transform)
    physical = np.asarray(values, dtype=np.float64).ravel()
    physical = physical[~np.isnan(physical)]
    if not physical.size:
        raise bad_input(name, "no valid training value", "at least one")
    if function.lowest is not None and physical.min() < function.lowest:
        below = f"{int((physical < function.lowest).sum())} values below {function.lowest:g}"
        raise bad_input(
            name,
            f"{below}, the lowest {physical.min():g}",
            f'values for which transform "{transform}" is defined',
        )
    transformed = function.forward(physical)
    mean = float(transformed.mean())
    m2 = float(((transformed - mean) ** 2).sum())
    low, high = float(transformed.min()), float(transformed.max())
    return make_scaling(transformed.size, mean, m2, low, high, transform)


def _check_scaling(where: str, stored: Any, faults: Faults) -> None:
    """Add the faults of one variable's stored statistics."""
    if not isinstance(stored, Mapping):
        faults.add(where, repr(stored)[:80], "{mean, std, transform}")
        return
    known = [field.name for field in fields(Scaling)]
    for key in stored:
        if key not in known:
            hint = nearest_name(str(key), known)
            faults.add(where, f'an unknown key "{key}"', f"one of {', '.join(known)}", hint)
    for key, minimum in (("mean", -math.inf), ("std", 0.0)):
        value = stored.get(key)
        if not (isinstance(value, int | float) and minimum < value < math.inf):
            found = repr(value)[:80] if key in stored else "nothing"
            faults.add(f"{where}: {key}", found, "a number above 0" if key == "std" else "a number")
    for key in ("minimum", "maximum"):
        if not isinstance(stored.get(key), int | float | None):
            faults.add(f"{where}: {key}", repr(stored[key])[:80], "a number or null")
    transform = stored.get("transform", "none")
    if not isinstance(transform, str) or transform not in TRANSFORMS:
        hint = nearest_name(str(transform), TRANSFORMS)
        faults.add(f"{where}: transform", repr(transform)[:80],
                   f"one of {', '.join(TRANSFORMS)}", hint)  # fmt: skip


@dataclass(frozen=True)
class Normaliser:
    """The scalings of all variables by name: forcings, statics and target."""

    scalings: Mapping[str, Scaling]

    @classmethod
    def from_moments(
        cls,
        moments: Mapping[str, Mapping[str, float]],
        transforms: Mapping[str, str] | None = None,
    ) -> Normaliser:
        """The normaliser of moments `{count, mean, m2, min, max}` of the *transformed* values.

        Raises `InputError` that lists all variables without a training value.
        """
        faults = Faults()
        scalings: dict[str, Scaling] = {}
        for name, m in moments.items():
            if not m.get("count", 0) > 0:
                faults.add(f"statistics of {name}", "no valid training value", "at least one")
                continue
            transform = (transforms or {}).get(name, "none")
            scalings[name] = make_scaling(
                m["count"], m["mean"], m["m2"], m["min"], m["max"], transform
            )
        faults.raise_if_any()
        return cls(scalings)

    @classmethod
    def from_dict(cls, stored: Any, where: str = "normaliser") -> Normaliser:
        """The normaliser of what `to_dict` returns, or of `{variable: {mean, std, transform}}`.

        Raises `InputError` that lists all invalid statistics.
        """
        faults = Faults()
        if not isinstance(stored, Mapping):
            faults.add(where, type(stored).__name__, "{variable: {mean, std, transform}}")
            stored = {}
        for name, scaling in stored.items():
            _check_scaling(f"{where}: {name}", scaling, faults)
        faults.raise_if_any()
        return cls({name: Scaling(**scaling) for name, scaling in stored.items()})

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The scalings as plain values for a checkpoint's `data.json`."""
        return {name: asdict(scaling) for name, scaling in self.scalings.items()}

    def merged(self, other: Normaliser | None) -> Normaliser:
        """The scalings of both; of a variable that is in both, that of `self`."""
        return Normaliser({**(other.scalings if other else {}), **self.scalings})

    def selected(self, names: Iterable[str]) -> Normaliser:
        """The scalings of these variables only; raises `InputError` where some are missing."""
        wanted = tuple(names)
        self.require(wanted)
        return Normaliser({name: self.scalings[name] for name in wanted})

    def require(self, names: Iterable[str], where: str = "normaliser") -> None:
        """Raise `InputError` that lists every variable without statistics."""
        faults = Faults()
        for name in names:
            if name not in self.scalings:
                hint = nearest_name(name, self.scalings)
                faults.add(f"{where}: {name}", "no training statistics", "mean and std", hint)
        faults.raise_if_any()

    def forward(self, values: Tensor, names: Sequence[str]) -> Tensor:
        """Normalised values [..., V], float32, of physical values [..., V] of `names`."""
        if values.dtype != torch.float32 or values.ndim < 2 or not values.numel():
            return self._each(values, names, lambda scaling, column: scaling.forward(column))
        self._match(values, names)
        # All variables of a location in one long row: single columns would use no vector units.
        rows = values.contiguous().flatten(1)
        count = rows.shape[1] // len(names)
        mean = torch.tensor([self.scalings[name].mean for name in names], device=values.device)
        std = torch.tensor([self.scalings[name].std for name in names], device=values.device)
        whole = _empty_like(rows)
        torch.sub(rows, mean.repeat(count), out=whole).div_(std.repeat(count))
        changed = whole.view(values.shape)
        for i, name in enumerate(names):
            if self.scalings[name].transform != "none":
                changed[..., i] = self.scalings[name].forward(values[..., i])
        return changed

    def inverse(self, values: Tensor, names: Sequence[str]) -> Tensor:
        """Physical values [..., V], float32, of normalised values [..., V] of `names`."""
        return self._each(values, names, lambda scaling, column: scaling.inverse(column))

    def moments(self, mean: Tensor, scale: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Physical mean and standard deviation [..., V] of normalised normal distributions."""
        self.require(names)
        both = [
            self.scalings[name].moments(mean[..., i], scale[..., i]) for i, name in enumerate(names)
        ]
        return torch.stack([m for m, _ in both], -1), torch.stack([s for _, s in both], -1)

    def _each(
        self, values: Tensor, names: Sequence[str], change: Callable[[Scaling, Tensor], Tensor]
    ) -> Tensor:
        self._match(values, names)
        changed = torch.empty_like(values, dtype=torch.float32)
        for i, name in enumerate(names):
            changed[..., i] = change(self.scalings[name], values[..., i])
        return changed

    def _match(self, values: Tensor, names: Sequence[str]) -> None:
        self.require(names)
        if values.shape[-1] != len(names):
            raise bad_input("normaliser", f"{values.shape[-1]} variables", f"{len(names)}")
