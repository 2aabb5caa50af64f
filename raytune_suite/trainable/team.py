"""Several processes that train one model on one machine: gradients are averaged by DDP, batches shared out.

The process that the suite knows is the first of them (rank 0). It starts the others
(:mod:`raytune_suite.trainable.rank`), has each do whatever it does itself, and ends with them: an error of any is
raised here, with its traceback. They talk over pipes, in JSON, and compute together over gloo on CPUs and NCCL on GPUs.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import TrainableError
from raytune_suite.trainable.crew import Crew, RankError

if TYPE_CHECKING:
    from torch import nn

_PATIENCE = datetime.timedelta(minutes=30)
_CONSEQUENCE_S = 10.0
"""How long to wait for the error of another process, after this one could not reach it any more."""


class Alone:
    """A training of one process: everything is its own."""

    rank, size = 0, 1

    @contextmanager
    def doing(self, what: str, **arguments: Any) -> Iterator[None]:
        """While this lasts, all processes do the same, and this team is the :func:`current` one."""
        before = _set_current(self)
        try:
            yield
        finally:
            _set_current(before)

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, by rank; plain values only."""
        return [value]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, its gradients averaged over all processes."""
        return model

    def agree(self, models: list[nn.Module]) -> None:
        """Give buffers of the models everywhere the values of rank 0; raise TrainableError if parameters differ."""

    def sync(self, model: Any, now: bool) -> None:
        """Whether the next backward pass of the model averages gradients, or only adds to them."""

    def close(self) -> None:
        """End the other processes."""


class Team(Alone):
    """One of ``size`` processes; ``store`` is a file through which they find each other, ``crew`` the others."""

    def __init__(self, rank: int, size: int, store: Path, cuda: bool, crew: Crew | None = None) -> None:
        import torch.distributed as dist
        from torch._C._distributed_c10d import FileStore

        self.rank, self.size, self._store, self._crew = rank, size, store, crew
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):  # nobody outside this machine is to take part
            os.environ.setdefault(name, "lo0" if sys.platform == "darwin" else "lo")
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=FileStore(str(store), size),
            rank=rank,
            world_size=size,
            timeout=_PATIENCE,
        )
        if crew is None:  # this process does nothing else
            _set_current(self)

    @contextmanager
    def doing(self, what: str, **arguments: Any) -> Iterator[None]:
        """See :class:`Alone`; raises :class:`RankError` if another process fails."""
        if self._crew is None:
            yield
            return
        with super().doing(what), self._crew.doing(what, arguments, is_consequence, _CONSEQUENCE_S):
            yield

    def gather(self, value: Any) -> list[Any]:
        """See :class:`Alone`."""
        import torch
        import torch.distributed as dist

        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(text)]))
        most = max(int(length) for length in lengths)
        texts = [torch.zeros(most, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(texts, torch.cat([text, torch.zeros(most - len(text), dtype=torch.uint8)]))
        found = zip(texts, lengths, strict=True)
        return [json.loads(bytes(padded[: int(length)].tolist())) for padded, length in found]

    def wrap(self, model: nn.Module) -> nn.Module:
        """See :class:`Alone`: under the model's own names, which a checkpoint holds."""
        from raytune_suite.trainable.replica import Replica

        return Replica(model)

    def agree(self, models: list[nn.Module]) -> None:
        """See :class:`Alone`."""
        import torch.distributed as dist

        sums = [float(sum(p.detach().double().sum() for p in model.parameters())) for model in models]
        for theirs in self.gather(sums):
            if any(mine == mine and mine != their for mine, their in zip(sums, theirs, strict=True)):
                raise TrainableError(
                    "the processes of the trial have trained different models: give each model you build to "
                    "self.distribute(model), and call the model itself, not its methods, in training"
                )
        for model in models:
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    dist.broadcast(buffer, 0)

    def sync(self, model: Any, now: bool) -> None:
        """See :class:`Alone`."""
        if hasattr(model, "require_backward_grad_sync"):
            model.require_backward_grad_sync = now

    def close(self) -> None:
        """See :class:`Alone`."""
        import torch.distributed as dist

        if self._crew is not None:
            self._crew.dismiss()
        if dist.is_initialized():
            dist.destroy_process_group()
        if self._crew is not None:
            self._crew.end()
            self._store.unlink(missing_ok=True)
            self._store.parent.rmdir()


_current: Alone = Alone()


def current() -> Alone:
    """The team that the training at hand belongs to."""
    return _current


def _set_current(team: Alone) -> Alone:
    """Make it the current one, and return the one before."""
    global _current
    before, _current = _current, team
    return before


def lead(cls: type, config: Mapping[str, Any], context: Any, size: int, cuda: bool) -> Team:
    """Start the other processes of a training and become their first.

    Raises :class:`TrainableError` if they cannot be started: ``cls`` must be importable, and there is one such training
    at a time.
    """
    import torch.distributed as dist

    if dist.is_initialized():
        raise TrainableError(
            f"{size} processes for a trial in a process that has a process group already: "
            "set repeats: 1, and leave torch.distributed to the suite (or set processes: 1)"
        )
    store = Path(tempfile.mkdtemp(prefix="rt-team-")) / "store"
    crew = Crew(cls, config, context, size, store, cuda)
    try:
        crew.await_ready()
        return Team(0, size, store, cuda, crew)
    except BaseException:
        crew.end()
        raise


def is_consequence(error: BaseException) -> bool:
    """Whether this process failed only because another could not be reached."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def packed(state: Mapping[str, Any]) -> str:
    """A state of tensors and plain values as a text, to be gathered."""
    import io

    import torch

    file = io.BytesIO()
    torch.save(dict(state), file)
    return base64.b64encode(file.getvalue()).decode()


def unpacked(text: str) -> dict[str, Any]:
    """What :func:`packed` made a text of."""
    import io

    import torch

    state: dict[str, Any] = torch.load(io.BytesIO(base64.b64decode(text)), map_location="cpu", weights_only=True)
    return state


__all__ = ["Alone", "RankError", "Team", "current", "lead", "packed", "unpacked"]
