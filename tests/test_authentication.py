from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raytune_suite import authentication

TOKEN = "0123456789abcdef-a-token"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a token; Ray, if loaded, is left alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(authentication, "_refresh_ray", lambda: None)
    return tmp_path


def test_without_a_token_nothing_is_decided() -> None:
    environ: dict[str, str] = {}

    assert authentication.prepare(environ) == "default"
    assert environ == {}


@pytest.mark.parametrize("place", ["variable", "path", "home"])
def test_a_token_anywhere_ray_looks_turns_the_mode_on(home: Path, place: str) -> None:
    environ = {}
    if place == "variable":
        environ["RAY_AUTH_TOKEN"] = TOKEN
    elif place == "path":
        (home / "t").write_text(TOKEN + "\n")
        environ["RAY_AUTH_TOKEN_PATH"] = str(home / "t")
    else:
        (home / ".ray").mkdir()
        (home / ".ray/auth_token").write_text(TOKEN)

    assert authentication.prepare(environ) == "token"
    assert environ["RAY_AUTH_MODE"] == "token"


def test_a_mode_the_user_chose_is_left_alone() -> None:
    environ = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": TOKEN}

    assert authentication.prepare(environ) == "disabled"
    assert environ["RAY_AUTH_MODE"] == "disabled"


def test_an_empty_token_is_none() -> None:
    assert not authentication.has_token({"RAY_AUTH_TOKEN": " "})


def test_tokens_are_taken_out_of_text(home: Path) -> None:
    (home / "t").write_text("another-token")
    environ = {"RAY_AUTH_TOKEN": TOKEN, "RAY_AUTH_TOKEN_PATH": str(home / "t")}

    assert authentication.redact(f"Bearer {TOKEN} another-token.", environ) == "Bearer <token> <token>."


def test_preparing_imports_no_ray() -> None:
    probe = "import sys; from raytune_suite.authentication import prepare; prepare(); print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


@pytest.mark.ray
@pytest.mark.parametrize("early", [True, False], ids=["before ray", "after ray"])
def test_ray_uses_the_mode_whether_it_was_imported_before_or_after(early: bool) -> None:
    steps = ["from raytune_suite.authentication import prepare; prepare()", "import ray"]
    probe = "; ".join(
        [
            *(steps if early else steps[::-1]),
            "from ray._private.authentication.authentication_utils import is_token_auth_enabled as on",
            "print(on())",
        ]
    )
    environ = {"PATH": "/usr/bin:/bin", "RAY_AUTH_TOKEN": TOKEN, "HOME": str(Path.home())}
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=environ)

    assert done.stdout.strip() == "True"
