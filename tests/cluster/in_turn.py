"""A trainable whose steps end in an order that was written down before: that of the same study in virtual time."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from toys import Quadratic

WAITS = ("start", "report", "end")
_PATIENCE_S = 60.0
_LONGER_THAN_A_MESSAGE_S = 0.06


def turns(events: Iterable[dict[str, Any]], decisive: Collection[int] | None) -> list[list[Any]]:
    """Starts, reports and ends in their order; of the reports only those at ``decisive`` iterations, None: all."""
    told = [event for event in events if event["event"] in WAITS]
    if decisive is not None:
        told = [event for event in told if event["event"] != "report" or event["iteration"] in decisive]
    return [[event["event"], event["number"], event.get("iteration")] for event in told]


class InTurn(Quadratic):
    """Before a step is over, everything that comes before it in ``config["script"]`` must be in the journal."""

    def step(self) -> dict[str, Any]:
        found, until = super().step(), time.monotonic() + _PATIENCE_S
        time.sleep(_LONGER_THAN_A_MESSAGE_S)  # so that it is told at once
        while not self._is_on():
            if time.monotonic() > until:
                raise RuntimeError(f"step {self.steps} of trial {self.context.number} is out of turn")
            time.sleep(0.01)
        return found

    def _is_on(self) -> bool:
        script, mine = json.loads(Path(self.config["script"]).read_text()), ["report", self.context.number, self.steps]
        if mine not in script["turns"]:
            return True
        text = (self.context.trial_dir.parents[1] / "journal.jsonl").read_text()
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        past = turns(map(json.loads, lines), script["decisive"])
        before = past.count(mine)  # a population trains the same iteration again
        places = [place for place, turn in enumerate(script["turns"]) if turn == mine]
        wanted = Counter(map(tuple, script["turns"][: places[before]]))
        return not wanted - Counter(map(tuple, past))
