from __future__ import annotations

from pathlib import Path

import pytest

from raytune_suite.trainable import Context


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context.standalone(tmp_path, metric="validation/loss")
