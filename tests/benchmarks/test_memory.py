"""What the README says of the forecast of GPU memory, on a few configurations; on a GPU where there is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from memory import FOLDS, ROOT, WITHIN, compare, errors

from raytune_suite.memory.allocator import LARGE_SEGMENT
from raytune_suite.shares import CONTEXT


@pytest.mark.parametrize("name", ["digits", "tabular"])
def test_calibrated_forecasts_are_near_what_the_profiler_sees_in_real_steps(tmp_path: Path, name: str) -> None:
    forecasts, measured = compare(name, FOLDS, "cpu", tmp_path)

    assert len(set(measured)) > FOLDS / 2, "the configurations are all alike"
    assert np.quantile(errors(forecasts, measured), 0.9) <= WITHIN


def test_no_configuration_is_judged_by_a_calibration_that_knows_it() -> None:
    forecasts = np.full(20, 100.0)
    measured = np.where(np.arange(20) == 7, 300.0, 100.0)

    assert errors(forecasts, measured)[7] == pytest.approx(2 / 3)
    assert np.delete(errors(forecasts, measured), 7).max() == 0


def test_what_is_forgiven_is_taken_off_each_error() -> None:
    forecasts, measured = np.full(20, 100.0), np.where(np.arange(20) == 7, 120.0, 100.0)

    assert errors(forecasts, measured, 5.0)[7] == pytest.approx(15 / 120)
    assert errors(forecasts, measured, 30.0).max() == 0


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["digits", "tabular", "bytes", "cifar"])
def test_on_a_gpu_they_are_near_what_its_allocator_reserves(tmp_path: Path, name: str) -> None:
    forecasts, measured = compare(name, 20, "cuda", tmp_path)

    # measured misses lie a segment away where there are convolutions: presumably room that cuDNN takes for itself
    assert np.quantile(errors(forecasts, measured, LARGE_SEGMENT), 0.9) <= WITHIN, np.c_[forecasts, measured] / 2**20


@pytest.mark.gpu
def test_a_cuda_context_takes_no_more_than_is_reckoned_with(tmp_path: Path) -> None:
    pytest.importorskip("pynvml")
    script = (
        "import sys; from pathlib import Path; from memory import beside_torch, compare\n"
        f"sys.path += {[str(ROOT), str(ROOT / 'tests')]!r}\n"
        "for name in ('digits', 'bytes'):\n"  # cuDNN, attention
        f"    compare(name, 2, 'cuda', Path({str(tmp_path)!r}))\n"
        "print(beside_torch() or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT / "benchmarks", capture_output=True, text=True)

    assert not done.returncode, done.stderr
    if not (taken := int(done.stdout)):
        pytest.skip("the driver does not say whose memory it is, as in a container")
    assert taken <= CONTEXT
