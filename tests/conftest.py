"""What every test may ask for: the session-wide Ray of ray_session.py, the remote storage of remote_toy.py."""

from __future__ import annotations

pytest_plugins = ["ray_session", "remote_toy"]
