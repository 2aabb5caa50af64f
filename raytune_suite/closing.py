"""What a run says when it is over: the winner against the default, what became of the trials, where things lie."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from raytune_suite import foreseen, formats
from raytune_suite.metrics import std_error
from raytune_suite.record import Record, TrialRecord
from raytune_suite.tally import Tally

_STYLES = {"finished": "bold green", "interrupted": "bold dark_orange", "failed": "bold red", "broke off": "bold red"}


def closing(tally: Tally, folder: Path | None) -> list[Text]:
    """The summary of a run, line by line."""
    record = tally.record
    parts: list[Text] = [Text(""), _headline(tally)]
    winner = record.best()
    parts += [_winner(record, winner), *_comparison(record, winner)] if winner else [_nothing(record)]
    parts += _usage(tally)
    parts += _errors(tally)
    parts += _foreseen(folder, record) if folder is not None else []
    parts += _places(folder, record) if folder is not None else []
    return parts


def shown_path(folder: Path) -> str:
    """A folder as one would type it from here."""
    relative = os.path.relpath(folder)
    return str(folder) if relative.startswith("..") else relative


def _headline(tally: Tally) -> Text:
    record = tally.record
    closed = record.closed or {}
    state = str(closed.get("state") or "broke off")
    text = Text(f"{record.name} {state}", _STYLES.get(state, "bold"))
    text.append(f" after {formats.duration(tally.elapsed)}: {formats.count(len(record.trials), 'trial')}", "default")
    text.append(f" ({formats.states(record.counts())})", "default")
    return text.append(f". {closed['reason']}" if closed.get("reason") else "", "default")


def _winner(record: Record, winner: TrialRecord) -> Text:
    best = winner.best()
    value = f"{formats.measured(best.value, best.error)} at iteration {best.iteration}" if best else "-"
    text = Text("best     ", "bold").append(f"trial {winner.number}, {record.metric} {value}", "bold green")
    for name, setting in formats.flat(winner.config).items():
        text.append(f"\n         {name}: {formats.setting(setting)}", "default")
    return text


def _comparison(record: Record, winner: TrialRecord) -> Iterator[Text]:
    """The yardstick: what the default configuration gives, in training and in the held-out test."""
    default = next((trial for trial in record.trials.values() if trial.origin == "default"), None)
    mine, theirs = winner.best(), default.best() if default else None
    if default is winner:
        yield Text("No trial was better than the default configuration.", "yellow")
    elif mine and theirs:
        how = formats.improvement(mine.value, theirs.value, record.mode)
        yield Text(f"default  {record.metric} {formats.measured(theirs.value, theirs.error)}: the best is {how}")
    yield from _tests(winner, default)


def _tests(winner: TrialRecord, default: TrialRecord | None) -> Iterator[Text]:
    """The held-out test; a share of so many samples comes with its interval."""
    mine, theirs = winner.test or {}, (default.test or {}) if default and default is not winner else {}
    samples = mine.get("test/samples")
    for name in formats.test_metrics(mine):
        if name != "test/samples":
            text = f"         {_test_name(name)} {_tested(name, mine, samples)}"
            beside = f", default {_tested(name, theirs, samples)}" if name in theirs else ""
            yield Text(text + beside)
    if samples:
        yield Text(f"         on {formats.count(int(samples), 'held-out sample')}", "dim")


def _tested(name: str, test: Mapping[str, Any], samples: Any) -> str:
    value, error = test[name], test.get(std_error(name))
    if error is not None:
        return formats.measured(value, error)
    if "accuracy" in name and samples and isinstance(value, int | float) and 0 <= value <= 1:
        return formats.share_interval(float(value), float(samples))
    return formats.number(value)


def _test_name(name: str) -> str:
    return name if name.startswith("test") else f"test {name}"


def _nothing(record: Record) -> Text:
    return Text(
        f"No trial has a value of {record.metric}: {formats.states(record.counts())}."
        if record.trials
        else "No trial was started.",
        "bold red",
    )


def _usage(tally: Tally) -> Iterator[Text]:
    """Where the time of the slots, or GPUs, went."""
    usage = tally.usage
    if usage.capacity and (text := usage.describe()):
        yield Text(f"{f'{usage.unit}s':<9}{text}", "dim")


def _errors(tally: Tally) -> Iterator[Text]:
    groups = sorted(tally.errors.values(), key=lambda group: -len(group.numbers))
    for group in groups:
        message = group.message.strip().splitlines()[0] if group.message.strip() else ""
        who = f"trial{'s' if len(group.numbers) > 1 else ''} {formats.numbers(group.numbers)}"
        yield Text(f"{len(group.numbers)}x {group.type}: {message} ({who})", "red")


def _foreseen(folder: Path, record: Record) -> Iterator[Text]:
    for title, line in zip(("plan", ""), foreseen.lines(folder, record), strict=False):
        yield Text(f"{title:<9}", "bold").append(line, "default")


def _places(folder: Path, record: Record) -> list[Text]:
    path = shown_path(folder)
    over = (record.closed or {}).get("state") == "finished"
    go_on = () if over else (f"go on    raytune resume {path}",)
    lines = ("", *go_on, f"record   {path}", f"look     raytune tensorboard {path}", f"         raytune report {path}")
    return [Text(line) for line in lines]
