"""Bytes of a store's files, into memory that is used again and again.

A fresh buffer for every chunk costs more in page faults than the copy into it, so each thread keeps one.
"""

import os
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
import obstore
from obstore.exceptions import NotFoundError
from zarr.abc.store import Store
from zarr.storage import LocalStore, ObjectStore


class Blobs(Protocol):
    """Read access to named blobs. A memoryview is valid until the calling thread reads again."""

    remote: bool
    """Whether reading waits for a network, so that more threads than cores pay."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> memoryview | None:
        """Bytes of a blob, None if there is no such blob. A negative `start` counts from its end."""
        ...

    def size(self, key: str) -> int:
        """Bytes of a blob, 0 if there is no such blob."""
        ...


class _Scratch(threading.local):
    """One growing buffer per thread."""

    buffer = memoryview(b"")

    def take(self, count: int) -> memoryview:
        if len(self.buffer) < count:
            # Room for somewhat larger ones, so that a new one is seldom needed.
            self.buffer = np.empty(count + count // 8, np.uint8).data
        return self.buffer[:count]


_scratch = _Scratch()


class LocalBlobs:
    """Files below a folder."""

    remote = False

    def __init__(self, root: Path) -> None:
        self._root = str(root)

    def read(self, key: str, start: int = 0, length: int | None = None) -> memoryview | None:
        """See Blobs. Raises OSError, also when the file is shorter than asked for."""
        try:
            descriptor = os.open(f"{self._root}/{key}", os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            size = os.fstat(descriptor).st_size
            begin = start if start >= 0 else max(size + start, 0)
            buffer = _scratch.take(size - begin if length is None else length)
            done = 0
            while done < len(buffer):
                count = os.preadv(descriptor, [buffer[done:]], begin + done)
                if count == 0:
                    raise OSError(f"{key} ends after {size} bytes, expected {begin + len(buffer)}")
                done += count
            return buffer
        finally:
            os.close(descriptor)

    def size(self, key: str) -> int:
        """See Blobs."""
        try:
            return Path(f"{self._root}/{key}").stat().st_size
        except FileNotFoundError:
            return 0


class ObjectBlobs:
    """Objects of a bucket or a web server. Retries of single requests are those of `remote.zarr_store`."""

    remote = True

    def __init__(self, store: obstore.store.ObjectStore) -> None:
        self._store = store
        self._sizes: dict[str, dict[str, int]] = {}
        self._listing = threading.Lock()

    def read(self, key: str, start: int = 0, length: int | None = None) -> memoryview | None:
        """See Blobs. Raises obstore's errors."""
        try:
            if length is not None:
                return memoryview(obstore.get_range(self._store, key, start=start, length=length))
            if start >= 0:
                return memoryview(obstore.get(self._store, key, options={"range": {"offset": start}}).bytes())
            return memoryview(obstore.get(self._store, key, options={"range": {"suffix": -start}}).bytes())
        except (NotFoundError, FileNotFoundError):
            return None

    def size(self, key: str) -> int:
        """See Blobs. The array's folder is listed once: one request for a thousand objects."""
        folder = key.split("/")[0]
        with self._listing:
            if folder not in self._sizes:
                pages = obstore.list(self._store, prefix=folder, chunk_size=1000)
                self._sizes[folder] = {item["path"]: item["size"] for page in pages for item in page}
        return self._sizes[folder].get(key, 0)


def blobs_of(store: Store) -> Blobs | None:
    """Byte access to what a Zarr store holds; None for kinds of stores that have to be read through zarr itself."""
    if isinstance(store, LocalStore):
        return LocalBlobs(store.root)
    if isinstance(store, ObjectStore):
        return ObjectBlobs(store.store)
    return None
