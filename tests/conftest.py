"""What every test may ask for: the session-wide Ray of ray_session.py, the remote storage of remote_toy.py."""

from __future__ import annotations

import pytest

pytest_plugins = ["ray_session", "remote_toy"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked ``gpu`` where torch sees none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")
