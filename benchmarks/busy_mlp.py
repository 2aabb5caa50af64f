"""A small MLP that says how long each of its steps took."""

from __future__ import annotations

import time
from typing import Any

from trainables.tabular import TabularMLP


class TimedMLP(TabularMLP):
    def step(self) -> dict[str, Any]:
        started = time.perf_counter()
        metrics = super().step()
        return {**metrics, "time/step_s": time.perf_counter() - started}
