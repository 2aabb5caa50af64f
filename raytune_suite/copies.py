"""The copy of an experiment in remote storage between two sessions: fetched, compared, completed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from raytune_suite import journal as journals
from raytune_suite import lease
from raytune_suite.checkpoints import INFO
from raytune_suite.errors import ExperimentError
from raytune_suite.mirror import CHECKPOINTS, SEGMENTS, Mirror, complete, last_event, span
from raytune_suite.remote import Remote, below
from raytune_suite.resolve import find_project
from raytune_suite.study import Study

CONFIRMED = "confirmed-"
"""What the files and folders of confirmations begin with."""
_CONFIRMATION = re.compile(rf"{CONFIRMED}\d+\.json")
_CONFIRMED_JOURNAL = re.compile(rf"{CONFIRMED}\d+/{SEGMENTS}/")
_PATIENT_S = 24 * 3600.0


def must_be_new(uri: str) -> None:
    """Raise ExperimentError if there is an experiment of this name already, or nothing can be asked there."""
    try:
        there = Remote(uri).names(SEGMENTS)
    except Exception as error:
        raise _unusable(uri, error) from error
    if there:
        raise ExperimentError(
            f"{uri} exists already and is never reused. Go on with it: raytune resume {uri}. "
            "Or give the new one another name: raytune run STUDY --name NAME"
        )


def fetch(uri: str, folder: Path, *, checkpoints: bool = True, say: Callable[[str], None] = lambda _: None) -> Path:
    """Bring an experiment back into ``folder``, or what is new of it, and return the folder.

    A folder whose journal is as long or longer is taken as it is: it is where the copy came from.

    Raises:
        ExperimentError: there is none at ``uri``, it cannot be read, segments are missing, or ``folder`` holds
            another experiment.
    """
    remote = Remote(uri)
    try:
        names = remote.names()
        segments = sorted((name for name in names if name.startswith(f"{SEGMENTS}/")), key=span)
        if not segments:
            raise ExperimentError(_none_there(uri, names))
        if not _as_long(remote, segments, folder):
            say(f"fetching {uri} into {folder}")
            _write_journal(remote, segments, folder)
            for name in ("study.yaml", "driver.log"):
                if name in names:
                    remote.get_file(name, folder / name)
        if checkpoints:
            _fetch_checkpoints(remote, names, folder)
        _fetch_confirmations(remote, names, folder)
    except ExperimentError:
        raise
    except Exception as error:
        raise _unusable(uri, error) from error
    for name in sorted({name.split("/")[0] for name in names if _CONFIRMED_JOURNAL.match(name)}):
        fetch(below(uri, name), folder / name, checkpoints=checkpoints)
    return folder


def catch_up(uri: str, folder: Path, say: Callable[[str], None] = lambda _: None) -> None:
    """Bring what another driver has sent since ``folder`` was worked in; nothing if nothing was ever sent.

    Raises:
        ExperimentError: as :func:`fetch`.
    """
    try:
        there = Remote(uri).names(SEGMENTS)
    except Exception as error:
        raise _unusable(uri, error) from error
    if there:
        fetch(uri, folder, say=say)


def sync(folder: Path, say: Callable[[str], None] = lambda _: None) -> str:
    """Send what remote storage lacks of an experiment and its confirmations; returns its URI.

    What another machine has sent there in the meantime is brought first.

    Raises:
        ExperimentError: no experiment, its storage is no remote one, a driver works on it, another one lies there,
            or something could not be sent: the text says what and why.
    """
    uri = remote_of(folder)
    if uri is None:
        raise ExperimentError(f"The storage of {folder} is a local folder: there is nowhere to send it to.")
    with lease.held(uri, say) as mine:
        catch_up(uri, folder, say)
        missing = [_sent(uri, folder, mine)]
        inner = [path.parent for path in sorted(folder.glob(f"{CONFIRMED}*/{journals.FILE}"))]
        missing += [_sent(below(uri, path.name), path, mine) for path in inner]
        missing += [put(uri, folder, file.name) for file in sorted(folder.glob(f"{CONFIRMED}*.json"))]
    if found := [text for text in missing if text]:
        raise ExperimentError("\n".join(found))
    return uri


def remote_of(folder: Path) -> str | None:
    """Where an experiment is copied to, as its study file has it; None if its storage is local.

    Raises:
        ExperimentError: it has no study file.
    """
    file = folder / "study.yaml"
    if not file.is_file():
        raise ExperimentError(f"{folder} has no study.yaml, so it is no experiment.")
    return Study.load(file, find_project(file)).remote


def put(uri: str, folder: Path, name: str) -> str | None:
    """Send a small file of an experiment; returns what kept it from being sent, in a sentence."""
    try:
        Remote(uri).put_file(name, folder / name)
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        return f"Not in {uri}: {name} ({why}). It is in {folder}; raytune sync {folder} sends it."
    return None


def _sent(uri: str, folder: Path, mine: lease.Lease | None) -> str | None:
    copy = Mirror(uri, folder, mine.check if mine is not None else lambda: None)
    copy.everything()
    return copy.close(_PATIENT_S)


def _as_long(remote: Remote, segments: list[str], folder: Path) -> bool:
    """Whether the local journal has all that is there; raises ExperimentError if it is another one's."""
    path = folder / journals.FILE
    if not path.is_file():
        return False
    local = path.read_bytes()
    for name in (segments[0], segments[-1]):
        first, _ = span(name)
        content, mine = remote.get(name), b"".join(local.splitlines(keepends=True)[first - 1 :])
        shared = min(len(content), len(mine))
        if content[:shared] != mine[:shared]:
            raise ExperimentError(
                f"{folder} and {remote.uri} went different ways: move the local folder away to take the other."
            )
    return local.count(b"\n") >= last_event(segments)


def _write_journal(remote: Remote, segments: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draft, expected = folder / f".{journals.FILE}.part", 1
    with draft.open("wb") as file:
        for name in segments:
            first, last = span(name)
            if first != expected:
                raise ExperimentError(f"{remote.uri}: the events from {expected} to {first - 1} are missing.")
            file.write(remote.get(name))
            expected = last + 1
    draft.replace(folder / journals.FILE)


def _fetch_checkpoints(remote: Remote, names: list[str], folder: Path) -> None:
    for trial_id, checkpoint in complete(names):
        base = f"{CHECKPOINTS}/{trial_id}/{checkpoint}"
        files = [name for name in names if name.startswith(f"{base}/")]
        if not (folder / base / INFO).is_file():
            for name in sorted(files, key=lambda name: name.endswith(INFO)):
                remote.get_file(name, folder / name)


def _fetch_confirmations(remote: Remote, names: list[str], folder: Path) -> None:
    """Bring the files of confirmations, unless those here know more: the verdict."""
    for name in names:
        if _CONFIRMATION.fullmatch(name):
            here = folder / name
            content = remote.get(name)
            if not here.is_file() or (b'"verdict"' in content and b'"verdict"' not in here.read_bytes()):
                here.write_bytes(content)


def _none_there(uri: str, names: list[str]) -> str:
    inside = sorted({name.split("/")[0] for name in names if f"/{SEGMENTS}/" in name})
    found = f" It holds {', '.join(inside[:8])}." if inside else ""
    return f"There is no experiment in {uri}.{found}"


def _unusable(uri: str, error: Exception) -> ExperimentError:
    return ExperimentError(f"{uri} cannot be used: {' '.join(str(error).split())[:300]}")
