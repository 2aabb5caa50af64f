"""What of a project travels to a cluster: listed and measured first, then packed.

The files are those git knows or would take (``.gitignore`` is respected), or without git every file; never caches,
results, virtual environments or files that usually hold secrets. The same content gives the same archive, byte for
byte, so nothing is sent twice.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from raytune_suite.errors import JobError

LIMIT = 100 * 2**20
"""Bytes above which an upload is refused unless the caller raises it: code is small, data is not."""
EXCLUDES = (
    *(".git", ".hg", ".svn", ".venv", "venv", ".conda", ".tox", ".nox", "node_modules", "site-packages"),
    *("__pycache__", "*.py[co]", "*.egg-info", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"),
    *(".cache", ".ipynb_checkpoints", ".idea", ".vscode", ".DS_Store", "build", "dist"),
    *("experiments", "ray_results", "mlruns", "wandb", "lightning_logs", "*.ckpt"),
    *(".env", ".env.*", ".netrc", "*.pem", "*.key", "id_rsa*", "id_ed25519*", "auth_token", ".aws", ".ssh"),
)
"""Names, at any depth, that stay here."""
_MARKER = "pyproject.toml"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Manifest:
    """The files that will travel: paths relative to the project, with forward slashes, and their sizes in bytes.

    ``marked`` adds an empty ``pyproject.toml``: where only ``.git`` tells the project folder, which stays here,
    something else must tell it there.
    """

    project: Path
    files: tuple[tuple[str, int], ...]
    marked: bool = False

    @property
    def size(self) -> int:
        """Bytes in all, before packing."""
        return sum(size for _, size in self.files)

    def largest(self, count: int = 10) -> list[tuple[str, int]]:
        """The largest files, largest first."""
        return sorted(self.files, key=lambda item: (-item[1], item[0]))[:count]

    def lines(self) -> list[str]:
        """What goes, for people: the total and the ten largest."""
        total = f"{len(self.files)} files, {readable(self.size)}, from {self.project}"
        return [total, *(f"  {readable(size):>10}  {path}" for path, size in self.largest())]


def collect(project: Path, study: Path, excludes: Sequence[str] = ()) -> Manifest:
    """List what of ``project`` is needed to run ``study``; ``excludes`` are names or path patterns to leave out.

    Raises:
        JobError: the study lies outside the project.
    """
    project = project.resolve()
    try:
        wanted = study.resolve().relative_to(project).as_posix()
    except ValueError:
        raise JobError(f"{study} lies outside its project {project}, which is what is uploaded") from None
    found = _listed_by_git(project)
    names = set(_walked(project, excludes) if found is None else found)
    kept = {name for name in names if not _excluded(name, (*EXCLUDES, *excludes))} | {wanted}
    present = sorted(name for name in kept if (project / name).is_file())
    marked = "/" in wanted and _MARKER not in present
    return Manifest(project, tuple((name, (project / name).stat().st_size) for name in present), marked)


def check_size(manifest: Manifest, limit: int = LIMIT) -> None:
    """Refuse an upload above ``limit`` bytes, naming what makes it large and the way out."""
    if manifest.size <= limit:
        return
    text = f"the upload would be {readable(manifest.size)}, more than {readable(limit)}. The largest files:"
    way_out = (
        "Leave data where the cluster can read it and name it in the study; keep files here with --exclude PATTERN "
        "or .gitignore; or raise the limit with --max-upload MEBIBYTES."
    )
    raise JobError("\n".join([text, *manifest.lines()[1:], way_out]))


def check_module(manifest: Manifest, reference: str) -> None:
    """Refuse an upload that lacks the module a study names although the project has it."""
    path = reference.partition(":")[0].replace(".", "/")
    here = [name for name in (f"{path}.py", f"{path}/__init__.py") if (manifest.project / name).is_file()]
    if here and not {name for name, _ in manifest.files}.intersection(here):
        raise JobError(f"{here[0]}, which {reference} names, is excluded: check .gitignore and --exclude")


def pack(manifest: Manifest, archive: Path) -> Path:
    """Write the files into the zip ``archive``; times and order are fixed, so equal content gives equal bytes."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name, _ in manifest.files:
            source = manifest.project / name
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if os.access(source, os.X_OK) else 0o644) << 16
            target.writestr(info, source.read_bytes())
        if manifest.marked:
            target.writestr(zipfile.ZipInfo(_MARKER, _EPOCH), "")
    return archive


def readable(size: float) -> str:
    """A number of bytes for people: ``3.4 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _listed_by_git(project: Path) -> list[str] | None:
    """Tracked and untracked files that are not ignored; None where git or a repository is missing."""
    command = ["git", "-C", str(project), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return [name for name in os.fsdecode(done.stdout).split("\0") if name]


def _walked(project: Path, excludes: Sequence[str]) -> Iterator[str]:
    """Every file below ``project``; excluded folders are not entered."""
    patterns = (*EXCLUDES, *excludes)
    for folder, folders, files in os.walk(project):
        relative = Path(folder).relative_to(project)
        folders[:] = [name for name in folders if not _excluded((relative / name).as_posix(), patterns)]
        yield from ((relative / name).as_posix() for name in files)


def _excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern fits the path, one of its parents, or one of its parts."""
    path = PurePosixPath(name)
    candidates = {*path.parts, name, *(parent.as_posix() for parent in path.parents)}
    return any(fnmatch(candidate, pattern.rstrip("/")) for pattern in patterns for candidate in candidates)
