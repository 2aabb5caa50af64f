"""One checkpoint, one folder, one file: written whole or not at all, and holding no pickled classes.

The file is torch's own format and loads with ``weights_only=True``: tensors, numbers, strings, lists and dicts.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from raytune_suite.errors import TrainableError

FILE = "checkpoint.pt"
FORMAT = 1


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` into ``folder`` atomically.

    A folder that does not exist yet appears complete or not at all; in one that exists, the file is replaced. It
    survives the death of this process at any time; making it survive a power cut (fsync, slower than writing) is
    left to whoever keeps the folder, who need not wait for it.
    Raises :class:`TrainableError` if ``state`` holds something that could not be loaded safely.
    """
    state = plain({"format": FORMAT, **state}, "checkpoint")
    fresh = not folder.exists()
    target = folder.with_name(f".{folder.name}.partial") if fresh else folder
    if fresh and target.exists():
        shutil.rmtree(target)  # left by a writer that was killed
    target.mkdir(parents=True, exist_ok=True)
    draft = target / (FILE if fresh else f".{FILE}.partial")
    with draft.open("wb") as file:
        _save(state, file)
    draft.replace(target / FILE)
    if fresh:
        target.rename(folder)


def _save(state: Mapping[str, Any], file: IO[bytes]) -> None:
    """``torch.save``, which hides a full disk behind a complaint about positions in its archive."""
    import torch

    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def read(folder: Path) -> dict[str, Any]:
    """What :func:`write` wrote, with every tensor on the CPU. Raises :class:`TrainableError` if it is not there."""
    import torch

    path = folder / FILE
    if not path.is_file():
        raise TrainableError(f"{folder} holds no checkpoint: {FILE} is missing")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state.get("format") != FORMAT:
        raise TrainableError(
            f"{path} has checkpoint format {state.get('format')!r}, this version reads {FORMAT}: "
            "install the version of raytune-suite that wrote it"
        )
    return state


def plain(value: Any, where: str) -> Any:
    """``value`` in types that ``weights_only=True`` accepts; numpy becomes tensors and numbers.

    Raises :class:`TrainableError` naming the place of anything else, while there is still a trial to mend.
    """
    import numpy as np
    import torch

    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, (np.generic, np.ndarray)):
        return value.item() if value.ndim == 0 else torch.from_numpy(np.array(value))
    if isinstance(value, Mapping):
        items = {key: plain(item, f"{where}.{key}") for key, item in value.items()}
        return Counter(items) if isinstance(value, Counter) else items  # MultiStepLR counts its milestones
    if isinstance(value, (list, tuple)) or type(value).__name__ == "deque":
        entries = [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return tuple(entries) if isinstance(value, tuple) else entries
    for kind in (bool, int, float, str):
        if isinstance(value, kind):  # an enum or another subclass of a plain type
            return kind(value)
    if isinstance(value, (torch.dtype, torch.device)):
        return value
    raise TrainableError(
        f"{where} is a {type(value).__qualname__}, which a checkpoint cannot hold: "
        "keep tensors, numbers, strings, lists and dicts in extra_state()"
    )
