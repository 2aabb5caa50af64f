"""Studies as jobs of a Ray cluster: submit, follow to the end, stop, list.

A job's log stream may end, or break, while the job runs. So what counts is the job's status: following reconnects
until that is final, and the exit code comes from it.
"""

from __future__ import annotations

import asyncio
import shlex
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raytune_suite import __version__, authentication, upload
from raytune_suite.dashboard import NoAnswerError, Write, refused, translated
from raytune_suite.errors import JobError

GRACE = 60
"""Seconds a job has to end by itself after a stop (Ray's own default is 3, too short to write anything)."""
PATIENCE = 300.0
"""Seconds without any answer from the cluster after which following gives up."""
SILENCE = 30.0
"""Seconds without a line after which the log stream is opened anew: a dead connection looks like a quiet job."""
FINAL = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Job:
    """A job as the cluster knows it. ``folder`` is its experiment's, on the cluster; times in Unix seconds."""

    id: str
    status: str
    study: str = ""
    folder: str = ""
    message: str = ""
    started: float | None = None
    ended: float | None = None
    driver_exit_code: int | None = None

    @property
    def final(self) -> bool:
        """The status will not change any more."""
        return self.status in FINAL

    @property
    def exit_code(self) -> int:
        """0 if it succeeded; 143 if it was stopped; else the driver's own code, or 1."""
        if self.status == "SUCCEEDED":
            return 0
        if self.status == "STOPPED":
            return 143
        code = self.driver_exit_code or 1
        return 128 - code if code < 0 else code


@dataclass(frozen=True)
class Submission:
    """What to run where: the study's project folder goes along, ``storage`` is a folder on the cluster.

    ``options`` are further words for ``raytune run``; ``variables`` are set for the job (they are stored in the
    cluster and shown on its dashboard, so no secrets).
    """

    study: Path
    storage: str | None = None
    options: Sequence[str] = ()
    excludes: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    limit: int = upload.LIMIT
    python: str = "python"


def submit(what: Submission, client: Any) -> Job:
    """Upload the study's project and start ``raytune run`` there; returns at once.

    Raises:
        JobError: too much to upload, something missing from it, or the cluster refused.
    """
    from raytune_suite.study import Study

    study = Study.load(what.study)
    manifest = checked_manifest(what, study)
    job_id = f"raytune-{study.name}-{uuid.uuid4().hex[:8]}"
    storage = remote_storage(study.storage, what.storage)
    words = _entrypoint(what, manifest.project, storage)
    with tempfile.TemporaryDirectory() as scratch, translated(client):
        archive = upload.pack(manifest, Path(scratch) / "project.zip")
        client.submit_job(
            entrypoint=words,
            submission_id=job_id,
            runtime_env={"working_dir": str(archive), "env_vars": _variables(what)},
            metadata={"study": study.name, "folder": f"{storage}/{study.name}", "suite": __version__},
        )
    return find(client, job_id)


def checked_manifest(what: Submission, study: Any) -> upload.Manifest:
    """The files a submission takes along, refused where they are too many or lack the trainable."""
    excludes = [*what.excludes, *([] if Path(study.storage).is_absolute() else [str(Path(study.storage))])]
    manifest = upload.collect(study.project, what.study, excludes)
    upload.check_module(manifest, study.trainable)
    upload.check_size(manifest, what.limit)
    return manifest


def remote_storage(declared: str, asked: str | None) -> str:
    """Where results go on the cluster: as asked, else as declared if absolute, else the home folder's.

    A relative folder would lie in the uploaded copy, which Ray deletes.
    """
    if asked or Path(declared).is_absolute() or "://" in declared:
        return (asked or declared).rstrip("/")
    return "~/" + Path(declared).as_posix()


def follow(client: Any, job_id: str, write: Write, *, patience: float = PATIENCE, pause: float = 1.0) -> Job:
    """Write the job's log as it comes until the job's status is final; returns the job as it ended.

    Broken streams are reopened and nothing is written twice.

    Raises:
        JobError: no such job, access refused, or no answer for ``patience`` seconds.
    """
    log = _Log(client, job_id, write)
    heard = time.monotonic()
    job = find(client, job_id)
    while not job.final:
        log.stream()
        try:
            job = find(client, job_id)
            heard = time.monotonic()
        except NoAnswerError as error:
            if time.monotonic() - heard > patience:
                raise JobError(f"{error}. The job may still run: raytune follow {job_id}") from error
        if not job.final:
            time.sleep(pause)
    log.rest()
    return job


def stop(client: Any, job_id: str, *, wait: float = GRACE + 30, pause: float = 0.5) -> Job:
    """Ask the job to end and wait until it has; a job that had ended already is returned as it is.

    Raises:
        JobError: it is still not final after ``wait`` seconds.
    """
    with translated(client):
        client.stop_job(job_id)
    end = time.monotonic() + wait
    while not (job := find(client, job_id)).final:
        if time.monotonic() > end:
            raise JobError(f"{job_id} is still {job.status} after {wait:g} s: raytune follow {job_id} shows why")
        time.sleep(pause)
    return job


def jobs(client: Any) -> list[Job]:
    """All jobs submitted to the cluster, the newest first."""
    with translated(client):
        details = client.list_jobs()
    found = [_job(item) for item in details if item.submission_id]
    return sorted(found, key=lambda job: job.started or 0, reverse=True)


def find(client: Any, job_id: str) -> Job:
    """One job by its id."""
    with translated(client):
        return _job(client.get_job_info(job_id))


class _Log:
    """A job's log as written so far; a stream opened anew repeats the beginning, which is skipped."""

    def __init__(self, client: Any, job_id: str, write: Write) -> None:
        self._client, self._job_id, self._write = client, job_id, write
        self._written = 0

    def stream(self) -> None:
        """Write what the stream brings until it ends, breaks, or falls silent."""
        import aiohttp

        try:
            asyncio.run(self._stream())
        except (aiohttp.ClientError, RuntimeError, OSError, TimeoutError) as error:
            if getattr(error, "status", None) in (401, 403):
                raise JobError(refused(self._job_id)) from error

    def rest(self) -> None:
        """Write what the streams have not brought; the log of a node that is gone is gone with it."""
        try:
            with translated(self._client):
                text = self._client.get_job_logs(self._job_id)
        except JobError as error:
            self._write(f"(the end of the log cannot be read any more: {error})\n")
            return
        self._put(0, text)

    async def _stream(self) -> None:
        position = 0
        chunks = self._client.tail_job_logs(self._job_id)
        while (chunk := await asyncio.wait_for(anext(chunks, None), SILENCE)) is not None:
            self._put(position, chunk)
            position += len(chunk)

    def _put(self, position: int, text: str) -> None:
        new = text[max(0, self._written - position) :]
        if new:
            self._write(authentication.redact(new))
        self._written = max(self._written, position + len(text))


def _entrypoint(what: Submission, project: Path, storage: str) -> str:
    study = what.study.resolve().relative_to(project).as_posix()
    home = storage.startswith("~/")
    place = '"$HOME"/' + shlex.quote(storage[2:]) if home else shlex.quote(storage)
    words = [shlex.quote(word) for word in (what.python, "-m", "raytune_suite", "run", study, *what.options)]
    # exec: Ray signals the shell as well, and a shell that dies first would take the exit code with it.
    return f"exec {' '.join(words)} --set storage={place}"


def _variables(what: Submission) -> dict[str, str]:
    if tokens := [name for name in what.variables if name.startswith("RAY_AUTH")]:
        raise JobError(f"{tokens[0]} cannot be sent along: a job's variables are shown on the dashboard")
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(GRACE), "PYTHONUNBUFFERED": "1", **what.variables}


def _job(details: Any) -> Job:
    known = details.metadata or {}
    return Job(
        id=details.submission_id or details.job_id or "",
        status=str(getattr(details.status, "value", details.status)),
        study=known.get("study", ""),
        folder=known.get("folder", ""),
        message=(details.message or "").partition(", last available logs")[0],
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        driver_exit_code=details.driver_exit_code,
    )
