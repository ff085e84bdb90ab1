"""Reading a chunk again when it cannot be read, a few times."""

import logging
from typing import Any, Final

import tenacity
from numpy.typing import NDArray
from obstore.exceptions import BaseError

from fuxi_ens.errors import StoreError
from fuxi_ens.stores.chunks import ChunkReader, Coordinates

_FAILURES: Final = (OSError, ValueError, RuntimeError, BaseError)
_ATTEMPTS: Final = 3
"""Readings of a chunk; for a store behind a network, each with the retries of its requests."""
log = logging.getLogger(__name__)


def decode_patiently(reader: ChunkReader, at: Coordinates, out: NDArray[Any], what: str, remedy: str) -> bool:
    """`reader.decode` with bounded retries; False for an absent chunk. Raises StoreError with `what` and `remedy`."""

    def warn(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s: attempt %d of %d failed (%s)", what, state.attempt_number, _ATTEMPTS, error)

    retry = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=5.0),
        retry=tenacity.retry_if_exception_type(_FAILURES),
        before_sleep=warn,
        reraise=True,
    )
    try:
        return retry(reader.decode, at, out)
    except _FAILURES as error:
        raise StoreError(
            f"{what} cannot be read: its chunk {reader.key(at)} is damaged or out of reach after {_ATTEMPTS} attempts "
            f"({error}); {remedy}"
        ) from error
