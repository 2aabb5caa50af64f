"""A folder on a remote file system (S3 and what speaks like it, GCS, HDFS, a mounted disk), by a URI, through pyarrow.

Whoever may write there is told by the environment, as for the cloud's own tools; a URI with a password in it is
refused. ``s3://bucket/path?endpoint_override=localhost:9000&scheme=http`` names a server of one's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file")
_COLLAPSED = re.compile(rf"^({'|'.join(SCHEMES)}):/(?!/)")
_PART = 4 * 2**20
_CONNECT_S, _REQUEST_S = 5, 20


def uri_of(given: Path | str) -> str | None:
    """The URI that was given, also as a Path, which swallows a slash; None if it is a local path."""
    text = str(given)
    if "://" in text:
        return text
    match = _COLLAPSED.match(text)
    if match is None:
        return None
    return f"{match[1]}:{'///' if match[1] in ('file', 'hdfs', 'viewfs') else '//'}{text[match.end() :]}"


def below(uri: str, name: str) -> str:
    """The URI of ``name`` in the folder ``uri``, whose query it keeps."""
    place, mark, query = uri.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{query}"


def name_of(uri: str) -> str:
    """The last part of the path."""
    return PurePosixPath(urlsplit(uri).path).name


def problem(uri: str) -> str | None:
    """What is wrong with a URI of a storage folder, None if nothing is that can be seen from here."""
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        return f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}, or be a path"
    secrets = {"access_key", "secret_key", "session_token", "password"} & {key for key, _ in parse_qsl(parts.query)}
    if parts.password is not None or secrets or (parts.scheme == "s3" and "@" in parts.netloc):
        return "must hold no credentials: they belong into the environment, as AWS_ACCESS_KEY_ID"
    return None


class Remote:
    """Reads and writes whole files in one remote folder; names are relative, with forward slashes.

    Every method raises OSError (or a subclass of pyarrow's) if the other side does not do as it is asked.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def _place(self) -> tuple[Any, str]:
        from pyarrow import fs

        parts = urlsplit(self.uri)
        if parts.scheme != "s3":
            system, path = fs.FileSystem.from_uri(self.uri)
            return system, path.rstrip("/")
        options: dict[str, Any] = dict(parse_qsl(parts.query))
        made = fs.S3FileSystem(
            **options,
            connect_timeout=_CONNECT_S,
            request_timeout=_REQUEST_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
        )
        return made, f"{parts.netloc}{parts.path}".rstrip("/")

    def put(self, name: str, data: bytes) -> None:
        """Write a file; a reader sees the old one or the new one, never a part."""
        with self._written(name) as stream:
            stream.write(data)
        self._settle(name)

    def put_file(self, name: str, path: Path) -> None:
        """Copy a local file there."""
        with path.open("rb") as source, self._written(name) as stream:
            while part := source.read(_PART):
                stream.write(part)
        self._settle(name)

    def get(self, name: str) -> bytes:
        """The content of a file."""
        system, root = self._place
        with system.open_input_stream(f"{root}/{name}") as stream:
            return bytes(stream.read())

    def get_file(self, name: str, path: Path) -> None:
        """Copy a file from there; folders are made."""
        system, root = self._place
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.part")
        with system.open_input_stream(f"{root}/{name}") as stream, draft.open("wb") as target:
            while part := stream.read(_PART):
                target.write(part)
        draft.replace(path)

    def names(self, folder: str = "") -> list[str]:
        """Every file below ``folder``, relative to the root, sorted; none if there is no such folder."""
        from pyarrow import fs

        system, root = self._place
        base = f"{root}/{folder}".rstrip("/")
        found = system.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        names = [info.path[len(root) + 1 :] for info in found if info.type == fs.FileType.File]
        return sorted(name for name in names if not name.endswith(".part"))

    def delete(self, name: str) -> None:
        """Delete a file; nothing happens if it is not there."""
        system, root = self._place
        with contextlib.suppress(FileNotFoundError):
            system.delete_file(f"{root}/{name}")

    def modified(self, name: str) -> float:
        """When a file was written, in seconds by the other side's clock.

        Raises:
            FileNotFoundError: it is not there.
        """
        system, root = self._place
        info = system.get_file_info(f"{root}/{name}")
        if info.mtime is None:
            raise FileNotFoundError(name)
        return float(info.mtime.timestamp())

    def remove(self, folder: str) -> None:
        """Delete a folder and what is in it; nothing happens if it is not there."""
        system, root = self._place
        for name in self.names(folder):
            system.delete_file(f"{root}/{name}")
        if system.type_name == "local":
            Path(root, folder).rmdir()

    def _written(self, name: str) -> Any:
        system, root = self._place
        if system.type_name != "local":  # an object appears when it is complete
            return system.open_output_stream(f"{root}/{name}")
        system.create_dir(str(PurePosixPath(f"{root}/{name}").parent), recursive=True)
        return system.open_output_stream(f"{root}/{name}{_draft()}")

    def _settle(self, name: str) -> None:
        system, root = self._place
        if system.type_name == "local":
            system.move(f"{root}/{name}{_draft()}", f"{root}/{name}")


def _draft() -> str:
    """What a file is called until it is whole: two drivers may write one at the same moment."""
    return f".{os.getpid()}-{threading.get_ident()}.part"
