"""How a running study looks: the live view of a terminal, and the lines of a log."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytune_suite import formats
from raytune_suite.record import TrialRecord
from raytune_suite.states import State
from raytune_suite.tally import ErrorGroup, Tally

TRACEBACK_LINES = 8

Event = dict[str, Any]


def live(tally: Tally, console: Console) -> Group:
    """The live view: a bar over the trials, the best so far, what became of the others, what runs."""
    parts: list[Any] = [_bar(tally, console), _best(tally, console.width)]
    if tally.ended:
        parts.append(_ended(tally))
    if tally.running:
        parts.append(_running(tally, console))
    return Group(*parts)


def status(tally: Tally) -> str:
    """The line a log gets once a minute."""
    parts = [_progress(tally), f"{len(tally.running)} running"]
    if tally.best:
        parts.append(f"best {formats.number(tally.best[0])} (trial {tally.best[1]})")
    parts.append(f"{formats.duration(tally.elapsed)} elapsed")
    if tally.left is not None:
        parts.append(f"about {formats.duration(tally.left)} left")
    return ", ".join(parts)


def ended(tally: Tally, event: Event, place: int, best: bool) -> Text:
    """The line of a trial that has ended: its place, state, iterations, value, time and config."""
    trial = tally.record.trials[event["number"]]
    state = State(event["state"])
    total = tally.record.num_trials
    width = len(str(total or 999))
    line = Text(f"[{place:>{width}}/{total or '?'}] trial {trial.number:<{width}} ")
    line.append(f"{state.value.replace('_', ' '):<11}", formats.STATE_STYLES[state])
    line.append(f" {_iterations(tally, event.get('iteration') or 0):>7}")
    line.append(f"  {formats.number(event.get('best')):>8}", "bold" if best else "")
    line.append(f"  {formats.duration(trial.seconds):>7}  {formats.config(trial.point)}")
    if event.get("by"):
        line.append(f"  ({event['by']})", "dim")
    if best and state.succeeded:
        line.append("  best so far", "bold green")
    return line


def failure(trial: TrialRecord, group: ErrorGroup) -> Text:
    """The first trial that failed in some way: what, where, with which config, and the end of its traceback."""
    place = formats.node(trial.node, trial.runs[-1].ip if trial.runs else None)
    where = f" on {place}" if place else ""
    text = Text(f"Trial {trial.number} failed{where}: {group.type}: {group.message}\n", "red")
    text.append(f"  config: {formats.config(formats.flat(trial.config))}\n", "default")
    lines = [line for line in group.traceback.rstrip().splitlines() if line.strip()]
    if len(lines) > TRACEBACK_LINES:
        text.append("  ...\n", "dim")
    text.append("\n".join(f"  {line}" for line in lines[-TRACEBACK_LINES:]), "dim")
    return text


def decision(event: Event) -> Text:
    """A decision of a scheduler or stopper, explained."""
    action = event.get("action", "")
    text = Text(f"trial {event['number']} at iteration {event.get('iteration')}: ", "dim")
    text.append(f"{action} by {event.get('by')}", "yellow" if action == "stop" else "dim")
    return text.append(f": {event.get('text') or ''}", "dim")


def retry(event: Event) -> Text:
    """A trial that gets another attempt."""
    why = str(event.get("state") or "failed").replace("_", " ")
    error = event.get("error") or {}
    cause = f" ({error.get('type')}: {first_line(error.get('message'))})" if error else ""
    how = f", {event['text']}" if event.get("text") else ""
    text = f"trial {event['number']} starts again{how}, attempt {event['attempt'] + 1}: {why}{cause}"
    return Text(text, "dark_orange")


def _progress(tally: Tally) -> str:
    total = tally.record.num_trials
    return f"{tally.ended.total()}/{total} trials" if total else formats.count(tally.ended.total(), "trial")


def _bar(tally: Tally, console: Console) -> Table:
    total, done = tally.record.num_trials, tally.ended.total()
    slots = f"{len(tally.running)}/{tally.slots} slots" if tally.slots else f"{len(tally.running)} running"
    clock = f"{formats.duration(tally.elapsed)} elapsed"
    if tally.left is not None:
        clock += f", about {formats.duration(tally.left)} left"
    grid = Table.grid(padding=(0, 2), expand=False)
    width = max(10, min(40, console.width - 70))
    bar = ProgressBar(total=total, completed=done, width=width, pulse=total is None)
    grid.add_row(Text(tally.record.name, "bold"), bar, _progress(tally), slots, Text(clock, "dim"))
    return grid


def _best(tally: Tally, width: int) -> Text:
    trial = tally.best_trial()
    if tally.best is None or trial is None:
        return Text(f"no {tally.record.metric or 'value'} yet", "dim")
    value, number, iteration = tally.best
    text = Text("best ", "bold green")
    text.append(f"{tally.record.metric} {formats.number(value)}", "bold")
    text.append(f"  trial {number} at iteration {iteration}  ")
    return text.append(formats.config(trial.point, max(10, width - len(text.plain))), "dim")


def _ended(tally: Tally) -> Text:
    parts = [
        Text(f"{tally.ended[state]} {state.value.replace('_', ' ')}", formats.STATE_STYLES[state])
        for state in State
        if tally.ended[state]
    ]
    return Text("  ").join(parts)


def _running(tally: Tally, console: Console) -> Table:
    """One row a running trial, as many as the terminal has lines for."""
    grid = Table.grid(padding=(0, 2))
    for _ in range(6):
        grid.add_column(no_wrap=True)
    room = max(3, console.height - 8)
    shown = list(tally.running.items())
    for number, recent in shown[:room]:
        trial = tally.record.trials.get(number)
        if trial is not None:
            grid.add_row(*_row(tally, trial, list(recent), console.width))
    if len(shown) > room:
        grid.add_row(Text(f"and {len(shown) - room} more", "dim"))
    return grid


def _row(tally: Tally, trial: TrialRecord, recent: list[float | None], width: int) -> list[Text]:
    gpu = formats.gpu(trial.last_report.metrics if trial.last_report else {})
    return [
        Text(f"trial {trial.number}", "cyan"),
        Text(_iterations(tally, trial.iteration)),
        Text(formats.number(recent[-1]) if recent else "starting", "bold" if recent else "dim"),
        Text(formats.sparkline(recent, 16), "cyan"),
        Text(gpu, "magenta"),
        Text(formats.config(trial.point, max(10, width - 48 - len(gpu))), "dim"),
    ]


def _iterations(tally: Tally, done: int) -> str:
    most = tally.record.max_iterations
    return f"{done}/{most}" if most else str(done)


def first_line(text: object) -> str:
    """The first line of a message that may be missing."""
    return str(text or "").strip().partition("\n")[0]
