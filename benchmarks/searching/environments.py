"""The interpreters peers run in: ours if they fit beside the suite, else a virtual environment of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = {
    "smac": ["smac>=2.4,<3"],
    "ax": ["torch>=2.6", "ax-platform>=1.0"],
}
"""What pip installs into each environment; Optuna needs none, it is a dependency of the suite.

HEBO 0.3.6, its latest, is not here: it pins pymoo 0.6.0 and numpy below 1.25, for which Python 3.11 has no wheels.
"""


def interpreter(name: str, folder: Path) -> Path:
    """The Python of environment ``name`` under ``folder``, made first if it is missing.

    Raises:
        subprocess.CalledProcessError: the environment cannot be made or pip fails.
    """
    if name not in REQUIREMENTS:
        return Path(sys.executable)
    python = folder / name / "bin" / "python"
    if not python.exists():
        # under another name until it is whole: a failed or stopped installation is begun again
        unfinished = folder / f".{name}"
        subprocess.run([sys.executable, "-m", "venv", "--clear", unfinished], check=True)
        for requirement in REQUIREMENTS[name]:
            subprocess.run([unfinished / "bin/python", "-m", "pip", "install", "--quiet", requirement], check=True)
        unfinished.rename(folder / name)
    return python
