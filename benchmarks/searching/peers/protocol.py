"""What a peer's process speaks: a JSON object a line in, one a line out.

``{"op": "start", "parameters": [...], "seed": 0, "trials": 60, "in_flight": 1}`` begins a search,
``{"op": "ask"}`` is answered by ``{"point": {...}}`` (null: no more), ``{"op": "tell", "number": n, "value": y}``
gives the loss of the n-th point asked for. Each answer has the seconds the call took, by
the clock and of the processor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

Point = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """One parameter as a peer needs it.

    Attributes:
        kind: "float", "int" or "choice".
        log: whether to be searched on a logarithmic scale.
        q: step of a quantised parameter, None for plain floats and ints.
        values: of a choice.
        parent: the name of the parameter that decides whether this one exists, if any.
        active: the parent's values under which it does.
    """

    name: str
    kind: str
    lower: float = 0.0
    upper: float = 0.0
    log: bool = False
    q: float | None = None
    values: tuple[Any, ...] = ()
    parent: str | None = None
    active: tuple[Any, ...] = ()

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Parameter:
        """From the plain data that ``Task.parameters`` gives."""
        parent, active = raw["when"] or (None, ())
        kind, name, values = raw["kind"], raw["name"], tuple(raw.get("values") or ())
        step = raw.get("q")
        step = None if kind == "int" and step == 1 else step
        lower, upper = raw.get("lower") or 0.0, raw.get("upper") or 0.0
        return cls(name, kind, lower, upper, bool(raw.get("log")), step, values, parent, tuple(active))

    @property
    def steps(self) -> int | None:
        """The number of the last step of a quantised parameter."""
        return None if self.q is None else round((self.upper - self.lower) / self.q)

    def of_step(self, step: int) -> float | int:
        """The value of a quantised parameter at a step, with the decimals of ``q``."""
        number = self.lower + step * (self.q or 1.0)
        return round(number) if self.kind == "int" else round(number, 10)

    def exists(self, point: Mapping[str, Any]) -> bool:
        """Whether the parameter exists beside the values chosen so far."""
        return self.parent is None or (self.parent in point and point[self.parent] in self.active)


def active_only(parameters: list[Parameter], values: Mapping[str, Any]) -> Point:
    """Drop what does not exist under the values of the others; parents stand before their children."""
    point: Point = {}
    for parameter in parameters:
        if parameter.exists(point):
            point[parameter.name] = values[parameter.name]
    return point


class Peer(ABC):
    """An optimiser behind the protocol: a subclass writes ``ask`` and ``tell``."""

    packages: ClassVar[tuple[str, ...]]

    def __init__(self, parameters: list[Parameter], seed: int, trials: int, in_flight: int) -> None:
        self.parameters = parameters
        self.seed = seed
        self.trials = trials
        self.in_flight = in_flight

    @abstractmethod
    def ask(self, number: int) -> Point | None:
        """The point of evaluation ``number``, or None if there are no more."""

    @abstractmethod
    def tell(self, number: int, value: float) -> None:
        """Take note of the loss of evaluation ``number``."""


def serve(peer: type[Peer]) -> None:
    """Answer requests from standard input until it ends; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    session: Peer | None = None
    number = 0
    for line in sys.stdin:
        request = json.loads(line)
        started, cpu = time.perf_counter(), time.process_time()
        answer: dict[str, Any] = {}
        if request["op"] == "start":
            parameters = [Parameter.read(raw) for raw in request["parameters"]]
            session = peer(parameters, request["seed"], request["trials"], request["in_flight"])
            number = 0
            answer["versions"] = {name: version(name) for name in peer.packages}
        elif session is None:
            raise RuntimeError("the first request must be 'start'")
        elif request["op"] == "ask":
            answer["point"] = session.ask(number)
            number += 1
        else:
            session.tell(request["number"], request["value"])
        answer["seconds"] = time.perf_counter() - started
        answer["cpu_seconds"] = time.process_time() - cpu
        answers.write(json.dumps(answer) + "\n")
