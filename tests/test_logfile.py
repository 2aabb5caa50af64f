"""The driver's log when the disk is full."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from raytune_suite.logfile import LogFile

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs Linux's device that is always full")
def test_a_full_disk_makes_no_noise_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    handler = LogFile(FULL)
    handler.emit(logging.LogRecord("raytune_suite", logging.ERROR, __file__, 1, "lost", None, None))
    handler.close()
    assert capsys.readouterr().err == ""
