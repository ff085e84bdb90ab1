"""Where stores lie: a local path, a file of the package, a bucket, a web server. Bounded retries and timeouts.

Public buckets are read without an account. Credentials are used when the environment holds them: for `s3://`
AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, AWS_WEB_IDENTITY_TOKEN_FILE, or AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
or _FULL_URI; for `gs://` GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT or GOOGLE_SERVICE_ACCOUNT_KEY.
AWS_REGION and AWS_ENDPOINT say where another S3 service is; AWS_ALLOW_HTTP=true permits one without TLS.
"""

import os
import re
from datetime import timedelta
from typing import Any, Final

from zarr.abc.store import Store
from zarr.storage import LocalStore, ObjectStore

from fuxi_ens.assets import resolve
from fuxi_ens.errors import StoreError

ATTEMPTS: Final = 6
"""How often one request is sent before reading gives up."""
TIMEOUT_SECONDS: Final = 30.0
"""How long a request may go without receiving a byte."""
_FIRST_WAIT_SECONDS: Final = 0.2
_LONGEST_WAIT_SECONDS: Final = 10.0
_REQUEST_SECONDS: Final = 600.0
"""A whole request, so that a chunk of 150 MB arrives over a slow line."""

_CREDENTIALS: Final = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY"),
    "http": (),
    "https": (),
}
_SECRET: Final = re.compile(r"(?<=://)[^/@\s]+@|\?[^\s'\"]*=[^\s'\"]*")


def is_remote(source: str) -> bool:
    """Whether `source` is a URL rather than a path or a file of the package."""
    return "://" in source


def printable(text: str) -> str:
    """`text` with the passwords and signatures of the URLs in it left out."""
    return _SECRET.sub("", text) if is_remote(text) else text


def zarr_store(source: str) -> Store:
    """A read-only store of keys for zarr: asset:NAME, a local path, gs://, s3://, https:// or http://.

    Nothing is read yet. Raises StoreError for other kinds of URL.
    """
    if not is_remote(source):
        return LocalStore(resolve(source), read_only=True)
    return ObjectStore(_object_store(source), read_only=True)


def _object_store(url: str) -> Any:
    from obstore.store import from_url

    scheme = url.partition("://")[0]
    if scheme not in _CREDENTIALS:
        raise StoreError(f"cannot read {printable(url)}: got {scheme}://, expected one of {sorted(_CREDENTIALS)}")
    options: dict[str, Any] = {
        "retry_config": {
            "max_retries": ATTEMPTS - 1,
            "retry_timeout": timedelta(seconds=ATTEMPTS * TIMEOUT_SECONDS),
            "backoff": {
                "init_backoff": timedelta(seconds=_FIRST_WAIT_SECONDS),
                "max_backoff": timedelta(seconds=_LONGEST_WAIT_SECONDS),
            },
        },
        "client_options": {
            "connect_timeout": timedelta(seconds=TIMEOUT_SECONDS),
            "read_timeout": timedelta(seconds=TIMEOUT_SECONDS),
            "timeout": timedelta(seconds=_REQUEST_SECONDS),
        },
    }
    if scheme == "http" or os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true":
        options["client_options"]["allow_http"] = True
    # A request that nobody signed is what a public bucket wants; looking for an account would only take time.
    if _CREDENTIALS[scheme] and not any(os.environ.get(name) for name in _CREDENTIALS[scheme]):
        options["config"] = {"skip_signature": True}
    return from_url(url, **options)
