"""What each trial of a study needs of a GPU: forecast before it starts, corrected by what the trials before it took.

Forecasts are made off the driver's loop (:meth:`Needs.foresee`, which may take seconds) and looked up there. What
trials report is read from the journal's events, those of earlier sessions first.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from raytune_suite.memory.calibration import Calibration, calibrate
from raytune_suite.memory.forecaster import Forecast
from raytune_suite.states import State

PEAK = "memory/gpu_mb"
"""What a TorchTrainable reports: the MiB that torch's allocator has reserved at most."""
KEPT = 10_000
_LATEST = 200
_UNSEEN_MARGIN = 1.25
_MORE = 1.1
_UNKNOWN = Forecast(None, "it has not been forecast")


@dataclass(frozen=True)
class Need:
    """Bytes that a trial's training needs of a GPU: likely (``expected``) and with a margin (``bytes``), or unknown.

    ``forecast`` is the figure both follow from; ``why`` there is none.
    """

    bytes: int | None = None
    expected: int | None = None
    forecast: int | None = None
    why: str = ""


class Needs:
    """Forecasts of configurations, and their calibration; ``forecast`` is asked for what is not known."""

    def __init__(self, forecast: Callable[[Mapping[str, Any]], Forecast]) -> None:
        self._forecast = forecast
        self._known: OrderedDict[str, Forecast] = OrderedDict()
        self._forecasts: dict[int, float] = {}
        self._given: dict[int, float] = {}
        self._peaks: OrderedDict[int, float] = OrderedDict()
        self._calibration: Calibration | None = None

    def foresee(self, config: Mapping[str, Any]) -> Forecast:
        """Forecast a configuration unless it has been; for threads other than the driver's loop."""
        key = _key(config)
        if key not in self._known:
            self._known[key] = self._forecast(config)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return self._known[key]

    def need(self, config: Mapping[str, Any]) -> Need:
        """What a configuration needs, as far as is known now."""
        found = self._known.get(_key(config), _UNKNOWN)
        if found.bytes is not None:
            fit = self.calibration
            return Need(fit.needed(found.bytes), int(fit.expected(found.bytes)), found.bytes)
        if not (measured := [peak for number, peak in self._peaks.items() if number not in self._forecasts]):
            return Need(why=found.why)
        largest = max(measured)
        return Need(int(largest * _UNSEEN_MARGIN), int(largest), why=f"{found.why}; as much as trials before it took")

    @property
    def calibration(self) -> Calibration:
        """The fit of what was measured to what was forecast, of the latest trials."""
        if self._calibration is None:
            pairs = [(self._forecasts[n], peak) for n, peak in self._peaks.items() if n in self._forecasts][-_LATEST:]
            self._calibration = calibrate([f for f, _ in pairs], [m for _, m in pairs])
        return self._calibration

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take an event of the journal into account: a forecast that was made, a peak, memory that ran out."""
        kind, number = event["event"], event.get("number")
        if number is None:
            return
        if kind == "trial":
            self._made(number, event.get("resources") or {}, event.get("config") or {})
        elif kind == "report" and isinstance(peak := event["metrics"].get(PEAK), (int, float)):
            self._peak(number, peak * 2**20)
        elif kind in ("retry", "end") and event.get("state") == State.OOM:
            self._ran_out(number, event)

    def _made(self, number: int, resources: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        if "gpu_memory" in resources:
            self._given[number] = resources["gpu_memory"]
        if "forecast" in resources:
            self._forecasts[number] = resources["forecast"]
            self._known.setdefault(_key(config), Forecast(int(resources["forecast"])))

    def _peak(self, number: int, peak: float) -> None:
        if peak > self._peaks.get(number, 0.0):
            self._peaks[number] = peak
            self._calibration = None

    def _ran_out(self, number: int, event: Mapping[str, Any]) -> None:
        """It took more than it had; with more, or in smaller pieces, it may go on."""
        if number not in self._given:
            return
        if event.get("step") in (None, "share", "alone"):
            self._peak(number, self._given[number] * _MORE)
        if event.get("step") == "share":
            self._given[number] *= 2
        elif event.get("step") == "micro_batch":
            self._peaks.pop(number, None)
            self._forecasts.pop(number, None)  # in pieces it is another training
            self._given.pop(number)
            self._calibration = None


def _key(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True, default=repr)
