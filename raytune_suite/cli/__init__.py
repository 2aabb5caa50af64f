"""The command ``raytune``: a family of commands a file, nothing heavy imported before a command runs."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from collections.abc import Sequence

import typer

from raytune_suite.errors import RaytuneError

WRONG = 2  # exit code for a mistake the user can mend, and for a wrong command line
CRASHED = 70  # exit code for a mistake of ours (EX_SOFTWARE)
CANCELLED = 130  # exit code after Ctrl-C, as shells have it
TERMINATED = 143  # exit code after SIGTERM, as shells have it
_REFUSED = {  # what the machine says no to, and the way out; every other OSError is a mistake of ours
    errno.ENOENT: "Make the folder first, or name another one.",
    errno.ENOTDIR: "Name a path whose folders are folders.",
    errno.EEXIST: "Name another one.",
    errno.EISDIR: "Name a file, not a folder.",
    errno.EACCES: "Name another place, or ask for the right to use this one.",
    errno.EPERM: "Name another place, or ask for the right to use this one.",
    errno.EROFS: "Name a place that can be written to.",
    errno.ENOSPC: "Make room, or name a place on another disk.",
    errno.EDQUOT: "Make room, or name a place on another disk.",
    errno.EFBIG: "Name a place without a limit on the size of files (ulimit -f).",
    errno.ENAMETOOLONG: "Give a shorter name.",
}


def build() -> typer.Typer:
    """The application with every family's commands registered."""
    from raytune_suite.cli import cluster, memory, report, results, run, simulate, study, trust

    app = typer.Typer(
        name="raytune",
        help="Tune the hyperparameters of a PyTorch model with Ray Tune, from one study file.",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for family in (study, run, simulate, memory, trust, results, report, cluster):
        family.register(app)
    return app


def _root(context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from raytune_suite import __version__

        typer.echo(f"raytune {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own by default) and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = typer.main.get_command(build())
    try:
        code = command.main(words, prog_name="raytune", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return CANCELLED
    except SystemExit as error:
        if error.code != signal.SIGTERM:
            raise
        return TERMINATED  # Ray, while it starts, ends the process with the signal's bare number
    except RaytuneError as error:
        _say(str(error), error)
        return WRONG
    except Exception as error:  # the outermost frame: whatever is left is shown, not raised
        return _unexpected(error, words)
    return code if isinstance(code, int) else 0


def _unexpected(error: Exception, words: Sequence[str]) -> int:
    """A wrong command line, or a mistake of ours; typer's own exceptions differ from release to release."""
    explain = getattr(error, "format_message", None)
    if explain is not None:
        usage = getattr(error, "ctx", None)
        way_out = f"\nSee: {usage.command_path} --help" if usage else ""
        _say(f"{explain()}{way_out}", error)
        return int(getattr(error, "exit_code", WRONG))
    verbose = any(word in ("-v", "-vv", "--verbose") for word in words)
    if verbose:
        sys.stderr.write("".join(traceback.format_exception(error)))
    if isinstance(error, OSError) and error.errno in _REFUSED:
        named = f"{error.filename}: " if error.filename else ""
        _say(f"{named}{error.strerror}. {_REFUSED[error.errno]}", error)
        return WRONG
    if verbose:
        return CRASHED
    note = "" if getattr(error, "__notes__", None) else "\nRun it again with -v to see the traceback."
    _say(f"Internal error: {type(error).__name__}: {error}{note}", error)
    return CRASHED


def _say(message: str, error: BaseException) -> None:
    """Print one message in red on stderr, with whatever notes the exception has gathered."""
    from rich.console import Console

    text = "\n".join([message, *getattr(error, "__notes__", ())])
    Console(stderr=True, soft_wrap=True, highlight=False, emoji=False).print(text, style="red", markup=False)
