"""How long idle threads of a computation on CPUs wait in a spin loop, set before torch loads the OpenMP library.

GNU's OpenMP lets threads that wait for the others spin for up to a tenth of a second and more. Beside another busy
process those threads take the processors that the others need. After fewer rounds a thread sleeps until it is woken.

The library reads the environment once, when it is loaded, so a command imports this module before anything else.
Processes that the command starts inherit the setting.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

SPIN_COUNT = "1000"
"""Rounds of the loop: few enough to yield to another process, enough for the gaps between two operations."""
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What the drivers of NVIDIA, of AMD, and of Windows' Linux create."""


def limit_spinning(environment: MutableMapping[str, str], has_gpu: bool) -> None:
    """Set GOMP_SPINCOUNT on a machine without a GPU, unless the user has decided how threads wait.

    >>> environment = {}
    >>> limit_spinning(environment, has_gpu=False)
    >>> environment
    {'GOMP_SPINCOUNT': '1000'}

    Args:
        environment: The variables of the process.
        has_gpu: Whether the machine has a GPU, beside which the threads have little to do.
    """
    if not has_gpu and not any(name in environment for name in VARIABLES):
        environment["GOMP_SPINCOUNT"] = SPIN_COUNT


limit_spinning(os.environ, any(Path(device).exists() for device in GPU_DEVICES))
