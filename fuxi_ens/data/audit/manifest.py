"""Are the files of a training store those that `data prepare` wrote?"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fuxi_ens.assets import resolve
from fuxi_ens.data.audit.report import Problem
from fuxi_ens.errors import StoreError
from fuxi_ens.progress import Advance
from fuxi_ens.stores.remote import is_remote

_MANIFEST: Final = "manifest.json"
_REMEDY: Final = "run `fuxi-ens data prepare` again, which writes it anew"


def shards_of(source: str) -> list[dict[str, Any]]:
    """Shards that the manifest names; none if the store has no manifest. Raises StoreError if it is damaged."""
    if is_remote(source) or not (Path(resolve(source)) / _MANIFEST).is_file():
        return []
    path = Path(resolve(source)) / _MANIFEST
    try:
        shards = json.loads(path.read_bytes())["shards"]
        return [{"path": str(s["path"]), "bytes": int(s["bytes"]), "sha256": str(s["sha256"])} for s in shards]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error!r}); {_REMEDY}") from error


def audit_manifest(source: str, *, checksums: bool, advance: Advance) -> Iterator[Problem]:
    """Shards that are absent, of another size, or, with `checksums`, of other content than was written."""
    root = Path(resolve(source))
    for shard in shards_of(source):
        file = root / shard["path"]
        got = file.stat().st_size if file.is_file() else None
        if got is None:
            yield Problem("wrong", "manifest", f"{shard['path']} is absent; {_REMEDY}")
        elif got != shard["bytes"]:
            yield Problem("wrong", "manifest", f"{shard['path']} has {got} bytes, expected {shard['bytes']}; {_REMEDY}")
        elif checksums:
            with file.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != shard["sha256"]:
                    yield Problem(
                        "wrong", "manifest", f"{shard['path']} is not what was written; delete it and {_REMEDY}"
                    )
        advance(1, "")
