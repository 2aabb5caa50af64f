"""A byte-level transformer on the sources of Python's standard library: real text that every machine has."""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from raytune_suite.trainable import Data, TorchTrainable

CONTEXT = 64


class BytesTransformer(TorchTrainable):
    """Parameters: learning_rate, width, depth, heads, batch_size, dropout, weight_decay, warmup.

    ``training_windows`` and ``measured_windows`` may be given as well: the windows of an iteration and of a split that
    is measured. Fewer of them make an iteration shorter.
    """

    training_windows = 512  # an iteration: 32 KiB of text, about half a second on one core
    measured_windows = 256
    max_grad_norm = 1.0
    schedule_every = "batch"

    @classmethod
    def prepare_data(cls, folder: Path) -> None:
        """All modules of the library's top folder, every tenth file for validation, every tenth for the test."""
        files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
        for split, wanted in {"train": range(8), "validation": (8,), "test": (9,)}.items():
            texts = [file.read_bytes() for number, file in enumerate(files) if number % 10 in wanted]
            np.save(folder / f"{split}.npy", np.frombuffer(b"".join(texts), dtype=np.uint8))

    def build_data(self) -> Data:
        """Random windows for training; for measuring always the same ones, spread over the text."""
        size = self.config.get("batch_size", 32)
        trained = self.config.get("training_windows", self.training_windows)
        measured = self.config.get("measured_windows", self.measured_windows)
        train = Windows(self.array("train"), step=1)
        held = {name: Windows(self.array(name), count=measured) for name in ("validation", "test")}
        return Data(
            self.loader(train, batch_size=size, samples=trained),
            self.loader(held["validation"], batch_size=64),
            self.loader(held["test"], batch_size=64),
        )

    def build_model(self) -> nn.Module:
        """A decoder of ``depth`` blocks, ``width`` wide."""
        return Transformer(
            width=self.config.get("width", 64),
            depth=self.config.get("depth", 2),
            heads=self.config.get("heads", 4),
            dropout=self.config.get("dropout", 0.0),
        )

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW, with decay on matrices only."""
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim <= 1]
        decay = self.config.get("weight_decay", 0.01)
        groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, self.config["learning_rate"], betas=(0.9, 0.95))

    def build_schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """A linear warm-up over ``warmup`` batches, then a constant rate: fair to trials of any length."""
        warmup = self.config.get("warmup", 20)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda batch: min(1.0, (batch + 1) / warmup))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of the next byte, in nats."""
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """The share of bytes guessed right."""
        return {"accuracy": (outputs.argmax(-1) == targets).float().mean()}


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Stretches of a memory-mapped text and the bytes that follow: one at every ``step``, or ``count`` in all."""

    def __init__(self, text: np.ndarray[tuple[int], np.dtype[np.uint8]], step: int = 1, count: int = 0) -> None:
        self.text = text
        self.step = max(1, (len(text) - CONTEXT - 1) // count) if count else step
        self.count = count or (len(text) - CONTEXT - 1) // step

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = index * self.step
        window = torch.from_numpy(self.text[start : start + CONTEXT + 1].astype(np.int64))
        return window[:-1], window[1:]


class Transformer(nn.Module):
    """A pre-norm decoder over bytes."""

    def __init__(self, width: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.bytes = nn.Embedding(256, width)
        self.places = nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 256))

    def forward(self, text: Tensor) -> Tensor:
        """``[batch, length]`` bytes to ``[batch, length, 256]`` logits."""
        x = self.bytes(text) + self.places.weight[: text.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width))
        self.out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, length, width]`` to the same."""
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.mix(x).chunk(3, -1))
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.feed(x)  # type: ignore[no-any-return]
