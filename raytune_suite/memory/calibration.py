"""What trials report, set against what was forecast for them: a factor, an offset and a margin for those to come.

A forecast leaves things out that are alike for all trials of a study on one kind of GPU: workspaces of cuDNN, the
fragmentation of a long run, kernels that need room of their own. So the peaks that trials report are fitted by the
forecasts with a straight line, robustly: medians, which one odd trial cannot bend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PRIOR_MARGIN = 1.15
"""Room above a forecast while nothing has been measured."""
_LINE_FROM = 6
_SPREAD = 1.5
_REACH = 4.0
_COVERED = 0.9


@dataclass(frozen=True)
class Calibration:
    """``measured = factor * forecast + offset``; ``margin`` covers nine of ten trials measured so far."""

    factor: float = 1.0
    offset: float = 0.0
    margin: float = PRIOR_MARGIN
    trials: int = 0

    def expected(self, forecast: float) -> float:
        """Bytes that a trial is likely to take at most."""
        return self.factor * forecast + self.offset

    def needed(self, forecast: float) -> int:
        """Bytes to give it: the likely ones and the margin."""
        return int(self.expected(forecast) * self.margin)

    def describe(self) -> str:
        """In words."""
        if not self.trials:
            return f"not calibrated yet, margin {self.margin - 1:.0%}"
        offset = f" + {self.offset / 2**20:.0f} MiB" if self.offset >= 2**19 else ""
        return f"calibrated by {self.trials}: forecast x {self.factor:.2f}{offset}, margin {self.margin - 1:.0%}"


def calibrate(forecasts: Sequence[float], measured: Sequence[float]) -> Calibration:
    """Fit what was measured, in bytes; up to six trials, or all of one size, give a factor only.

    The line is that of Theil and Sen (Sen 1968): the median of the slopes of all pairs, which up to 29% of wild
    values leave where it is. The margin is the larger the fewer trials stand behind it.
    """
    f, m = np.asarray(forecasts, dtype=float), np.asarray(measured, dtype=float)
    usable = (f > 0) & (m > 0)
    f, m = f[usable], m[usable]
    if not len(f):
        return Calibration()
    factor, offset = _line(f, m)
    ratios = m / np.maximum(factor * f + offset, 1.0)
    seen = max(1.0, float(np.quantile(ratios, _COVERED)))
    known = len(f) / (len(f) + 3)
    return Calibration(factor, offset, known * seen + (1 - known) * max(seen, PRIOR_MARGIN), len(f))


def _line(f: np.ndarray, m: np.ndarray) -> tuple[float, float]:
    ratio = float(np.clip(np.median(m / f), 1 / _REACH, _REACH))
    if len(f) < _LINE_FROM or f.max() < _SPREAD * f.min():
        return ratio, 0.0
    one, other = np.triu_indices(len(f), 1)
    apart = f[one] != f[other]
    slopes = (m[one] - m[other])[apart] / (f[one] - f[other])[apart]
    factor = float(np.clip(np.median(slopes), 1 / _REACH, _REACH))
    offset = float(np.median(m - factor * f))
    return (factor, offset) if offset >= 0 else (ratio, 0.0)
