"""Print docs/commands.md from the command line itself: ``python tools/command_reference.py``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from raytune_suite.cli import build

PREFACE = """\
# Commands

Written by `make docs` from the command line itself; a test keeps it so. Every command also has `--help`.

| exit code | meaning |
|---|---|
| 0 | it worked; for a study: something completed or was stopped on purpose |
| 1 | the study ran, and nothing completed |
| 2 | a mistake you can mend: in the command, the study, the code it names, or what it asks of the machine |
| 70 | a mistake of ours; the message says where the traceback is, `-v` shows it |
| 130, 143 | ended by Ctrl-C or SIGTERM, with the results so far on disk |
"""


def reference() -> str:
    """The whole page."""
    commands: dict[str, Any] = getattr(typer.main.get_command(build()), "commands", {})
    sections = ["\n".join(_section(f"raytune {name}", command)) for name, command in commands.items()]
    return "\n".join([PREFACE, *sections])


def _section(name: str, command: Any) -> Iterator[str]:
    """One command, or a group of them."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    children: dict[str, Any] = getattr(command, "commands", {})
    usage = [name, *(_argument(a) for a in arguments)]
    if not children:
        yield f"## `{' '.join(usage)}{' [OPTIONS]' if options else ''}`\n"
        yield f"{_text(command.help)}\n"
        if arguments or options:
            yield from ("| | |", "|---|---|")
            yield from (f"| `{_argument(a)}` | {_text(a.help)}{_default(a)} |" for a in arguments)
            yield from (f"| {_names(o)} | {_text(o.help)}{_default(o)} |" for o in options)
            yield ""
    for child, sub in children.items():
        yield from _section(f"{name} {child}", sub)


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper()).strip("[]")
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    names = " ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    return names if option.is_flag or option.count else f"{names} {option.metavar or option.name.upper()}"


def _text(text: str | None) -> str:
    """Help text as one Markdown line that cannot end a table cell."""
    return " ".join((text or "").split()).replace("|", "\\|")


def _default(parameter: Any) -> str:
    default = parameter.default
    if default is None or callable(default) or default in (False, "", (), 0):
        return ""
    if getattr(parameter, "is_flag", False):
        return f" Default: `{parameter.opts[0]}`."
    return f" Default: `{getattr(default, 'value', default)}`."


if __name__ == "__main__":
    sys.stdout.write(reference())
