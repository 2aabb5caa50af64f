"""The process of a rank above 0: it builds the same trainable and does what the first process does, until told to end.

Started as ``python -m raytune_suite.trainable.rank ORDERS ANSWERS``: file descriptors of pipes that carry JSON lines.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import traceback
from functools import reduce
from pathlib import Path
from typing import Any


def main(orders: int, answers: int) -> None:
    """Obey until told to close; exit at once when nobody is left to give orders."""
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    source = os.fdopen(orders)
    spec = json.loads(source.readline())
    threading.Thread(target=_listen, args=(source, waiting), daemon=True).start()
    say = os.fdopen(answers, "w")
    try:
        for answer in _obey(spec, waiting):
            print(json.dumps(answer), file=say, flush=True)
    except BaseException as error:
        print(json.dumps({"error": _told(error)}), file=say, flush=True)
        os._exit(1)  # others wait for this process in the middle of a computation: they must see it gone


def _listen(source: Any, waiting: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in source:
        waiting.put(json.loads(line))
    os._exit(1)


def _obey(spec: dict[str, Any], waiting: queue.SimpleQueue[dict[str, Any]]) -> Any:
    from raytune_suite.trainable.context import Context
    from raytune_suite.trainable.team import Team

    sys.path[:] = [*spec["path"], *(entry for entry in sys.path if entry not in spec["path"])]
    module, _, path = spec["trainable"].partition(":")
    cls: Any = reduce(getattr, path.split("."), importlib.import_module(module))
    folders = ("trial_dir", "data_dir", "tensorboard_dir")
    given: dict[str, Any] = {k: Path(v) if k in folders else v for k, v in spec["context"].items()}
    context = Context(**given)
    yield {"ready": True}
    team = Team(context.rank, spec["size"], Path(spec["store"]), spec["cuda"])
    trial = None
    while (order := waiting.get())["do"] != "close":
        if trial is None:
            trial = cls(spec["config"], context)
        elif order["do"] == "step":
            trial.step()
        elif order["do"] == "test":
            trial.evaluate_test()
        elif order["do"] == "save":
            trial.save(Path(os.devnull))
        else:
            trial.load(Path(order["folder"]))
        yield {"done": order["do"]}
    if trial is not None:
        trial.close()
    team.close()


def _told(error: BaseException) -> dict[str, Any]:
    from raytune_suite.trainable.team import is_consequence

    return {
        "kind": type(error).__name__,
        "message": str(error),
        "trace": "".join(traceback.format_exception(error)),
        "consequence": is_consequence(error),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
