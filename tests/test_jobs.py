from __future__ import annotations

import asyncio
import http.server
import importlib.util
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raytune_suite import authentication, dashboard, jobs
from raytune_suite.errors import JobError, MissingExtraError

TOKEN = "f00dfeed" * 4


class FakeClient:
    """A cluster with one job: scripted statuses, and a log stream that breaks where it is told to.

    ``streams`` holds what each opening of the stream brings: chunks, then an exception or a silent end.
    """

    def __init__(self, statuses: list[Any], streams: list[list[Any]], log: str = "", **details: Any) -> None:
        self.statuses, self.streams, self.log, self.details = statuses, streams, log, details
        self.stopped = 0

    def get_job_info(self, job_id: str) -> Any:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(status, Exception):
            raise status
        known = {"job_id": None, "metadata": {}, "message": "", "start_time": 1000, "end_time": None}
        return SimpleNamespace(submission_id=job_id, status=status, driver_exit_code=None, **{**known, **self.details})

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        for item in self.streams.pop(0) if self.streams else []:
            if isinstance(item, Exception):
                raise item
            if item is None:
                await asyncio.sleep(60)
            yield item

    def get_job_logs(self, job_id: str) -> str:
        return self.log

    def stop_job(self, job_id: str) -> bool:
        self.stopped += 1
        return True


def follow(client: FakeClient, **options: Any) -> tuple[jobs.Job, str]:
    shown: list[str] = []
    job = jobs.follow(client, "job", shown.append, pause=0, **options)
    return job, "".join(shown)


def test_a_stream_that_ends_while_the_job_runs_is_opened_again_and_nothing_is_shown_twice() -> None:
    client = FakeClient(
        ["RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"], [["a\n", "b\n"], ["a\nb\n", "c\n"]], "a\nb\nc\nd\n"
    )

    job, shown = follow(client)

    assert (job.exit_code, shown) == (0, "a\nb\nc\nd\n")


def test_a_stream_that_breaks_is_opened_again() -> None:
    client = FakeClient(["RUNNING", "RUNNING", "FAILED"], [["a\n", RuntimeError("1006")], ["a\n", "b\n"]], "a\nb\n")

    job, shown = follow(client)

    assert (job.exit_code, shown) == (1, "a\nb\n")


def test_a_silent_stream_is_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SILENCE", 0.05)
    client = FakeClient(["RUNNING", "SUCCEEDED"], [["a\n", None]], "a\nb\n")

    assert follow(client)[1] == "a\nb\n"


def test_a_cluster_that_does_not_answer_for_a_moment_is_waited_for() -> None:
    client = FakeClient(["RUNNING", ConnectionError("refused"), "RUNNING", "SUCCEEDED"], [])

    assert follow(client)[0].exit_code == 0


def test_a_cluster_that_does_not_answer_for_long_is_given_up_saying_the_job_may_run() -> None:
    client = FakeClient(["RUNNING", ConnectionError("refused")], [])

    with pytest.raises(JobError, match="may still run: raytune follow job"):
        follow(client, patience=0)


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 3, 3),
        ("FAILED", None, 1),
        ("FAILED", 0, 1),
        ("FAILED", -9, 137),
        ("STOPPED", None, 143),
    ],
)
def test_the_exit_code_comes_from_the_status(status: str, driver: int | None, code: int) -> None:
    assert jobs.Job("job", status, driver_exit_code=driver).exit_code == code


def test_a_log_that_is_gone_does_not_change_how_the_job_ended() -> None:
    client = FakeClient(["SUCCEEDED"], [])
    client.get_job_logs = lambda job_id: (_ for _ in ()).throw(RuntimeError("500"))  # type: ignore[method-assign]

    job, shown = follow(client)

    assert job.exit_code == 0
    assert "cannot be read any more" in shown


def test_a_token_in_a_log_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)

    assert follow(FakeClient(["SUCCEEDED"], [], f"Bearer {TOKEN}\n"))[1] == "Bearer <token>\n"


def test_stopping_waits_for_the_end() -> None:
    client = FakeClient(["RUNNING", "RUNNING", "STOPPED"], [])

    assert jobs.stop(client, "job", pause=0).status == "STOPPED"
    assert client.stopped == 1


def test_a_job_that_will_not_stop_is_told() -> None:
    with pytest.raises(JobError, match="still RUNNING after 0 s"):
        jobs.stop(FakeClient(["RUNNING"], []), "job", wait=0, pause=0)


def test_a_failed_jobs_message_leaves_the_log_out() -> None:
    client = FakeClient(["FAILED"], [], message="exit code 3, last available logs (truncated)\nlong")

    assert jobs.find(client, "job").message == "exit code 3"


@pytest.mark.parametrize(
    ("declared", "asked", "there"),
    [
        ("./experiments", None, "~/experiments"),
        ("experiments/deep", None, "~/experiments/deep"),
        ("/shared/results", None, "/shared/results"),
        ("./experiments", "/shared/", "/shared"),
    ],
)
def test_results_never_go_into_the_uploaded_copy(declared: str, asked: str | None, there: str) -> None:
    assert jobs.remote_storage(declared, asked) == there


def test_the_command_is_quoted_and_only_the_home_folder_is_expanded(tmp_path: Path) -> None:
    what = jobs.Submission(tmp_path / "a b.yaml", options=["--set", "name=$(reboot)"])

    words = jobs._entrypoint(what, tmp_path, "~/my $HOME")

    assert words == (
        "exec python -m raytune_suite run 'a b.yaml' --set 'name=$(reboot)' --set storage=\"$HOME\"/'my $HOME'"
    )


def test_a_token_cannot_be_sent_along_as_a_variable(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="RAY_AUTH_TOKEN cannot be sent along"):
        jobs._variables(jobs.Submission(tmp_path, variables={"RAY_AUTH_TOKEN": TOKEN}))


def test_a_job_gets_time_to_end_by_itself(tmp_path: Path) -> None:
    assert int(jobs._variables(jobs.Submission(tmp_path))["RAY_JOB_STOP_WAIT_TIME_S"]) >= 30


@pytest.mark.parametrize(
    ("given", "environ", "url"),
    [
        (None, {}, "http://127.0.0.1:8265"),
        ("host:1", {}, "http://host:1"),
        ("https://host/", {}, "https://host"),
        (None, {"RAY_ADDRESS": "http://host:2"}, "http://host:2"),
        (None, {"RAY_ADDRESS": "10.0.0.1:6379"}, "http://127.0.0.1:8265"),
        (None, {"RAY_API_SERVER_ADDRESS": "http://a", "RAY_ADDRESS": "http://b"}, "http://a"),
        ("http://asked", {"RAY_API_SERVER_ADDRESS": "http://a"}, "http://asked"),
    ],
)
def test_what_is_asked_for_counts_before_the_environment(given: str | None, environ: dict[str, str], url: str) -> None:
    assert dashboard.resolve_address(given, environ) == url


@pytest.mark.parametrize("wrong", ["ray://host:10001", "http://", "http://user:secret@host"])
def test_an_address_that_is_no_dashboards_is_refused(wrong: str) -> None:
    with pytest.raises(JobError) as caught:
        dashboard.resolve_address(wrong, {})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:8265", "http://127.0.0.1:1", "http://[::1]:8265", "https://cluster.example"]
)
def test_loopback_and_encrypted_addresses_are_safe(url: str) -> None:
    dashboard.check_safety(url, token=False, insecure=False)


@pytest.mark.parametrize("url", ["http://10.0.0.1:8265", "http://cluster.example:8265", "http://0.0.0.0:8265"])
def test_another_machine_in_the_clear_without_a_token_is_refused_unless_insecure(url: str) -> None:
    with pytest.raises(JobError, match=r"ssh -N -L 8265.*--insecure"):
        dashboard.check_safety(url, token=False, insecure=False)
    dashboard.check_safety(url, token=False, insecure=True)


def test_a_token_sent_in_the_clear_is_warned_about() -> None:
    warnings: list[str] = []

    dashboard.check_safety("http://10.0.0.1:8265", token=True, insecure=False, warn=warnings.append)

    assert "token" in warnings[0]
    assert "unencrypted" in warnings[0]


def test_nobody_listening_is_told_at_once() -> None:
    with pytest.raises(JobError, match=r"nobody answers at http://127.0.0.1:9 .*is the cluster up"):
        dashboard.connect("http://127.0.0.1:9")


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(MissingExtraError, match=r"pip install 'raytune-suite\[jobs\]'"):
        dashboard.connect("http://127.0.0.1:8265")


@pytest.fixture
def refusing(request: pytest.FixtureRequest) -> Iterator[str]:
    """A dashboard that answers every request with one status, as Ray's does to a wrong or missing token."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("refusing", "token", "message"),
    [
        (401, "", "wants a token and none was found"),
        (401, TOKEN, "RAY_AUTH_MODE keeps it from being sent"),
        (403, TOKEN, "refuses the token found in"),
    ],
    indirect=["refusing"],
)
def test_a_refusal_says_what_to_do_and_never_shows_the_token(
    refusing: str, token: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    monkeypatch.setattr(authentication, "_refresh_ray", lambda: None)

    with pytest.raises(JobError, match=message) as caught:
        dashboard.connect(refusing)

    assert TOKEN not in str(caught.value)
