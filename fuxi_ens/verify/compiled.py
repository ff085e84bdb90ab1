"""Compilation of inner loops, kept on disk between processes where that is possible."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])
log = logging.getLogger(__name__)


def compiled(function: Function) -> Function:
    """`function` compiled when first called, without the GIL.

    Machine code is kept beside the package, or in the user's cache folder or NUMBA_CACHE_DIR where the package is
    read-only; where nothing can be written every process compiles for itself.
    """
    try:
        return cast("Function", numba.njit(nogil=True, cache=True)(function))
    except RuntimeError as error:  # numba found no place for its files
        log.debug("%s is compiled in every process: %s", function, error)
        return cast("Function", numba.njit(nogil=True)(function))
