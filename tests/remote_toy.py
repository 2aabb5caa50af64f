"""A remote storage on this machine's disk, and leases of it that are over soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytune_suite import lease


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BEAT_S": 0.05, "SILENT_S": 0.4, "_SETTLE_S": 0.02}.items():
        monkeypatch.setattr(lease, name, value)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"file://{tmp_path}/remote/toy"
