"""What is said of a step that had to be killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from raytune_suite.watchdog import diagnosed, hang

DUMP = """Timeout (0:01:30)!
Thread 0x00007f01 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
  File "/usr/lib/python3.11/concurrent/futures/thread.py", line 81 in _worker

Thread 0x00007f02 (most recent call first):
  File "/usr/lib/python3.11/site-packages/torch/utils/data/dataloader.py", line 1131 in _try_get_data
  File "/home/someone/project/train.py", line 33 in epoch
  File "/home/someone/project/train.py", line 20 in step
  File "/opt/raytune_suite/hosts.py", line 99 in step
  File "/opt/raytune_suite/worker.py", line 112 in _train
  File "/usr/lib/python3.11/site-packages/ray/_private/worker.py", line 900 in main_loop
"""


def test_the_hung_line_of_the_users_own_code_is_named() -> None:
    hung = diagnosed(DUMP)
    assert hung.message == (
        "a training step did not return within 90 s; it hung in epoch (/home/someone/project/train.py, line 33)"
    )


def test_the_thread_that_trained_comes_first() -> None:
    trace = diagnosed(DUMP).trace
    assert trace.index("dataloader.py") < trace.index("futures/thread.py")


def test_a_dump_without_stacks_is_still_a_hang() -> None:
    hung = diagnosed("Timeout (0:00:02)!")
    assert hung.message == "a training step did not return within 2 s"


def test_a_real_hang_leaves_its_stack_and_ends_the_process(tmp_path: Path) -> None:
    script = (
        "import time, pathlib\n"
        "from raytune_suite.watchdog import watchdog\n"
        f"with watchdog(0.2, pathlib.Path({str(tmp_path)!r})):\n"
        "    time.sleep(60)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 1
    hung = hang(tmp_path)
    assert hung is not None
    assert "in <module>" in hung.trace
    assert hung.after == "0.2 s"


def test_a_step_that_returned_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "timeout.txt").write_text("")
    assert hang(tmp_path) is None
