"""What every test may ask for; the session-wide Ray lives in ray_session.py."""

from __future__ import annotations

from importlib.util import find_spec

pytest_plugins = ["ray_session"] if find_spec("ray_session") else []
