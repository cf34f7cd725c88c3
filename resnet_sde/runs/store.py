"""Results that outlive the process: one content-addressed store, of files that are whole or refused.

A record is one file, named by a digest of its identity: the full text of what it answers. It holds that
identity, the results, and a SHA-256 of all of its bytes, so that whatever happened to it (a flipped bit, a
file cut short, another file in its place) is seen before anything in it is read. A record is an archive of
arrays that `numpy.load` opens, or JSON where there are none; nothing in it is a pickle.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:  # not on Windows, where a file that is open cannot be removed in the first place
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("resnet_sde")

FORMAT = 1
PART = ".part"  # end of the name of a file that is not whole yet
_SEAL = 64  # digits of a checksum
_OPENING = b'{"sha256": "'
_HEAD = "record"  # name of what is no array, in an archive

Identity = Mapping[str, Any]
"""What a record answers, as JSON: everything that decides its results, and nothing else."""


@dataclass(frozen=True)
class Record:
    """Results of one piece of work.

    arrays: by name.
    content: whatever JSON can hold; numbers in it are finite.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    content: Any = None


class Store:
    """A folder of records.

    Several programs may work on one folder: a record is the same whoever writes it, and appears whole.

    Args:
        folder: made if it is not there; a leading ~ is the home folder.
        name: of the file of a record in it, with its key in braces, such as ``"cells/{key}.npz"``; records
            without arrays end with .json.
        manifest: what is being computed, and with what, for those who find the folder later; a file of its
            own.
        opened: the folder is there and has been written to; what has become of it since costs no result.

    Raises:
        OSError: the folder cannot be made or written to.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        *,
        manifest: Mapping[str, Any] | None = None,
        opened: bool = False,
    ) -> None:
        self.folder, self._name, self._full = Path(folder).expanduser(), name, False
        if opened:
            return
        within = "" if name.startswith("{") else str(Path(name).parent)
        (self.folder / within).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder / within):
            pass
        remove_parts(self.folder, name.format(key="*"))
        if manifest is not None:
            text = json.dumps(manifest, indent=1, ensure_ascii=False)
            write_whole(self.folder / f"manifest-{key_of(manifest)[:12]}.json", text.encode())

    def path(self, identity: Identity) -> Path:
        """Where the record of this identity is, or would be."""
        return self.folder / self._name.format(key=key_of(identity))

    def load(self, identity: Identity | None) -> Record | None:
        """The record of this identity; None if there is none, with a warning if it is damaged.

        The identity is None for what cannot be kept, because it cannot be told what decides it.
        """
        if identity is None:
            return None
        path = self.path(identity)
        try:
            found, record = _decode(path.read_bytes(), path.suffix)
            if found != _plain(identity):
                raise Damaged("it answers another request")
        except FileNotFoundError:
            return None
        except Exception as error:  # a sealed file of another kind can raise nearly anything
            log.warning("%s is not taken, because %s; it is computed anew", path, _reason(error))
            return None
        return record

    def save(self, identity: Identity | None, record: Record) -> bool:
        """Keep a record, unless its identity is None; False, with one warning, where the disk does not."""
        if identity is None:
            return False
        path = self.path(identity)
        try:
            write_whole(path, _encode(_plain(identity), record, path.suffix), sweep=False)
        except OSError as error:
            if not self._full:
                log.warning("%s: %s; the work goes on, and this result is not kept", path, _reason(error))
            self._full = True
            return False
        self._full = False
        return True

    def remove(self, identity: Identity | None) -> None:
        """Forget a record, if it is there."""
        if identity is not None:
            with suppress(OSError):
                self.path(identity).unlink()


def write_record(path: Path, identity: Identity, record: Record) -> None:
    """Write a record to a file of its own, for those who hand it on; its folder is made.

    Raises:
        OSError: it could not be written.
    """
    write_whole(path, _encode(_plain(identity), record, path.suffix))


def read_record(path: Path) -> tuple[Any, Record]:
    """Identity and results of a file. Raises Damaged, with its name, or OSError."""
    try:
        return _decode(path.read_bytes(), path.suffix)
    except OSError:
        raise
    except Exception as error:  # a sealed file of another kind can raise nearly anything
        raise Damaged(f"{path} cannot be taken, because {_reason(error)}; give another") from error


class Damaged(ValueError):
    """A file is not what was written."""


def key_of(identity: Identity) -> str:
    """The name of an identity: 32 hexadecimal digits."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def sealed(content: bytes, at: int) -> bytes:
    """The content with its checksum put at a place, counted from the end if it is negative."""
    at = len(content) + at + 1 if at < 0 else at
    digest = hashlib.sha256(content[:at] + content[at:]).hexdigest().encode()
    return content[:at] + digest + content[at:]


def unsealed(content: bytes, at: int) -> bytes:
    """The content without its checksum. Raises Damaged if that is not the one of all the rest."""
    at = len(content) - _SEAL + at + 1 if at < 0 else at
    digest, rest = content[at : at + _SEAL], content[:at] + content[at + _SEAL :]
    if not content:
        raise Damaged("it is empty")
    if at < 0 or digest != hashlib.sha256(rest).hexdigest().encode():
        raise Damaged("its content does not fit its checksum")
    return rest


def _encode(identity: Any, record: Record, suffix: str) -> bytes:
    head = {"format": FORMAT, "identity": identity, "content": record.content}
    text = json.dumps(head, ensure_ascii=False, allow_nan=False, indent=1).encode()
    if suffix == ".json":
        if record.arrays:
            raise ValueError("a record with arrays is kept as .npz")
        return sealed(_OPENING + b'",\n' + text[1:], len(_OPENING))
    if any(array.dtype.hasobject for array in record.arrays.values()):
        raise ValueError("an array of objects could be kept as a pickle only")
    buffer = io.BytesIO()
    np.savez(buffer, **{_HEAD: np.frombuffer(text, dtype=np.uint8)}, **record.arrays)  # type: ignore[arg-type]
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"0" * _SEAL  # the end of the file, and its length is part of what comes before
    return sealed(buffer.getvalue()[:-_SEAL], -1)


def _decode(content: bytes, suffix: str) -> tuple[Any, Record]:
    """Identity and record. Raises Damaged."""
    if suffix == ".json":
        text, arrays = b"{" + unsealed(content, len(_OPENING))[len(_OPENING) + 2 :], {}
    else:
        unsealed(content, -1)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if _HEAD not in arrays:
            raise Damaged("it is no record")
        text = arrays.pop(_HEAD).tobytes()
    head = json.loads(text)
    if head["format"] != FORMAT:
        raise Damaged(f"it has format {head['format']}, of another version of the package")
    return head["identity"], Record(arrays, head["content"])


def _plain(identity: Identity) -> Any:
    """The identity as JSON gives it back."""
    return json.loads(json.dumps(identity))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, Damaged) else "it is no record"


# Files


def write_whole(path: Path, content: bytes, *, sweep: bool = True) -> None:
    """Write a file that appears under its name only when it is complete and on disk; its folder is made.

    A link is followed, so that it stays one; a device, a pipe or a folder is never replaced.

    Args:
        path: of the file.
        content: of the file.
        sweep: remove what programs that were killed have left of this file. Among many files that takes
            time, and is done for all of them when a store is opened.

    Raises:
        OSError: it could not be written; an older file of this name is untouched.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "is no ordinary file, which alone a result may replace", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if sweep:
        remove_parts(path.parent, glob.escape(path.name))
    handle, name = _part_of(path)
    try:
        try:
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(handle)
            os.chmod(name, 0o666 & ~_umask())
            if fcntl is not None:
                os.replace(name, path)  # while it is locked
        finally:
            os.close(handle)
        if fcntl is None:
            os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _part_of(path: Path) -> tuple[int, str]:
    """A new file beside the path, open and locked.

    The lock ends with its owner, however that ends, and so tells files that are being written from those
    that nobody will finish.
    """
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=PART)
        if _locked(handle, name):
            return handle, name
        os.close(handle)  # another program took it for abandoned before it was locked


def _locked(handle: int, name: str) -> bool:
    """Lock a file, where there are locks; False if it has been removed before."""
    if fcntl is None:
        return True
    with suppress(OSError):  # some file systems know no locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.stat(name), os.fstat(handle))
    except FileNotFoundError:
        return False


def remove_parts(folder: Path, name: str) -> None:
    """Remove unfinished files that nobody writes any more, of all files whose names fit the pattern."""
    for part in folder.glob(f"{name}.*{PART}"):
        with suppress(OSError):  # it is being written, or has just become what it was to be
            if fcntl is not None:
                with part.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink()
            else:
                part.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
