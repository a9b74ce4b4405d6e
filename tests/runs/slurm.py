"""A real SLURM on this machine: one controller, two nodes of two processors, from Debian's slurm-wlm and munge."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
SETTINGS = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
JobRequeue=1
KillWait=20
NodeName=a[0-1] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{second}] CPUs=2 RealMemory=4000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def is_installed() -> bool:
    """Whether the daemons are here and may be started."""
    return os.geteuid() == 0 and all(shutil.which(name, path=search_path()) for name in PROGRAMS)


def search_path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@contextmanager
def two_nodes(folder: Path) -> Iterator[dict[str, str]]:
    """Start it in a folder with a short path; yields the environment in which its commands find it."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool.a0", "spool.a1"):
        (folder / name).mkdir()
    ports = dict(zip(("port", "first", "second"), (26817, 27001, 27002), strict=True))
    (folder / "slurm.conf").write_text(SETTINGS.format(host=host, folder=folder, **ports))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    environment = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": search_path(), "MASTER_ADDR": "127.0.0.1"}

    def run(*command: str) -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True)

    names = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munge.pid", "log-file": "munge.log"}
    paths = [f"--{option}={folder}/{name}" for option, name in (names | {"seed-file": "munge.seed"}).items()]
    run("munged", "--force", *paths)
    run("slurmctld", "-f", environment["SLURM_CONF"])
    for node in ("a0", "a1"):
        run("slurmd", "-f", environment["SLURM_CONF"], "-N", node)
    try:
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root", "--signal=KILL"], env=environment, capture_output=True)
        time.sleep(1)
        for pid_file in folder.glob("*.pid"):
            if (pid := pid_file.read_text().strip()).isdecimal():
                subprocess.run(["kill", pid], capture_output=True)


def show(environment: dict[str, str], job: str) -> dict[str, str]:
    """What scontrol says of a job."""
    said = subprocess.run(["scontrol", "show", "job", job], env=environment, capture_output=True, text=True).stdout
    return dict(word.split("=", 1) for word in said.split() if "=" in word)
