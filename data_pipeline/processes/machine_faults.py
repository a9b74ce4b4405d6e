"""What a machine does to a command: a process is lost, a disk is full, a database is away. The same line goes on later.

Such an end says nothing about the settings, so it has an exit status of its own.
"""

import errno

from data_pipeline.processes.child_processes import lost_process

TRY_AGAIN = 75
"""Exit status of a command that the machine has ended; sysexits.h calls it EX_TEMPFAIL."""
_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOMEM)


class MachineError(OSError):
    """The machine has ended a command; the message is the reason in one line."""


def machine_fault(error: BaseException) -> str | None:
    """Return in one line what the machine has done, None if the settings or the program are at fault.

    An error that was made for the user, a ValueError or an OSError, speaks for the one that caused it.

    >>> machine_fault(OSError(28, "No space left on device")), machine_fault(FileNotFoundError(2, "No such file"))
    ('[Errno 28] No space left on device', None)

    Args:
        error: What was raised.
    """
    each: BaseException | None = error
    while each is not None:
        if (lost := lost_process(each)) is not None:
            return lost
        if isinstance(each, MachineError) or (isinstance(each, OSError) and each.errno in _FAULTS):
            return " ".join(str(error if isinstance(error, ValueError | OSError) else each).split())
        each = each.__cause__
    return None
