"""Files that a run can do without: if one of them cannot be written or removed, it is said, and the run goes on.

The first rank alone writes them, so an error there would leave the other ranks waiting for it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def goes_on(what: str) -> Iterator[None]:
    """Let the run go on after an error of the file system, as on a full disk.

    Args:
        what: What has not been done then, in words.
    """
    try:
        yield
    except OSError as error:
        log.warning("%s, the run goes on: %s", what, error)
