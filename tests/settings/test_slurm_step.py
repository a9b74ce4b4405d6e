"""A launch by srun, and what shells, editors and batch scripts inherit, with the variables of SLURM 22.05."""

import os

import pytest
from omegaconf import OmegaConf

from bert_lightning.settings.config import Processes, find_processes
from bert_lightning.settings.slurm_step import has_own_gpus, tasks_not_started, tasks_of_srun

Variables = dict[str, str]
ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4", "SLURM_TASKS_PER_NODE": "2(x2)"}
ALLOCATION |= {"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "a[0-1]", "SLURM_NODELIST": "a[0-1]"}
BATCH = ALLOCATION | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train.sh"}
SALLOC = ALLOCATION | {"SLURM_JOB_NAME": "interactive"}
STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}
SRUN = BATCH | STEP | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_TASK_PID": "1"}
ONE_NODE = {"SLURM_NNODES": "1", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "4"}
PTY = SRUN | ONE_NODE | {"SLURM_PTY_PORT": "40635"}
INTERACTIVE_STEP = SALLOC | {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}
INHERITED = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}


def trainer(**changes: object) -> object:
    return OmegaConf.create({"accelerator": "cpu", "devices": "auto", "num_nodes": "auto"} | changes)


@pytest.mark.parametrize(
    ("environment", "has_terminal", "expected"),
    [
        (SRUN, False, (2, 2)),
        (SRUN | ONE_NODE, False, (4, 1)),
        (SRUN | {"SLURM_JOB_NAME": "interactive"}, False, (2, 2)),  # srun inside of salloc
        (SRUN | {"SLURM_JOB_NAME": "bash"}, False, (2, 2)),  # srun bash -c "bert-pretrain ..."
        (SRUN | {"SLURM_NTASKS": "8"}, False, (2, 2)),  # a step of fewer tasks than the job has
        (SRUN, True, (2, 2)),  # no pty, whatever the terminal is
        (PTY, True, None),  # a command typed into srun --ntasks=4 --pty zsh
        (PTY | {"SLURM_TASK_PID": str(os.getpid())}, True, (4, 1)),  # srun --pty bert-pretrain
        (PTY, False, (4, 1)),  # srun inside of such a shell
        (BATCH, False, None),
        (SALLOC, True, None),
        (INTERACTIVE_STEP, True, None),
        (INHERITED, False, None),
        (INHERITED | {"SLURM_PROCID": "0"}, False, None),
        (SRUN | ONE_NODE | {"SLURM_STEP_NUM_TASKS": "1"}, False, None),  # srun --pty zsh, or srun --ntasks=1
        ({}, True, None),
    ],
)
def test_only_srun_launches(environment: Variables, has_terminal: bool, expected: tuple[int, int] | None) -> None:
    assert tasks_of_srun(environment, has_terminal) == expected


def test_unequal_nodes_are_refused() -> None:
    uneven = SRUN | {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1"}
    for environment in (uneven, uneven | {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "3,1"}):
        with pytest.raises(
            ValueError, match=r"not equally many on each \(SLURM_STEP_TASKS_PER_NODE=\d,1\); take --ntasks"
        ):
            tasks_of_srun(environment, False)


@pytest.mark.parametrize("environment", [BATCH, SALLOC, INTERACTIVE_STEP])
def test_nodes_are_not_left_idle_without_a_word(environment: Variables) -> None:
    said = f"SLURM_NTASKS=4 SLURM_NNODES=2.* SLURM_JOB_NAME={environment['SLURM_JOB_NAME']}, but srun has not started"
    with pytest.raises(
        ValueError, match=f"^{said} this process; put srun before the command, or set trainer.num_nodes=1"
    ):
        find_processes(trainer(), True, environment)
    assert find_processes(trainer(num_nodes=1, devices=2), True, environment) == Processes("cpu", 2, 1, False)
    assert find_processes(trainer(), False, environment) == Processes("cpu", 1, 1, False)


@pytest.mark.parametrize("is_parallel", [False, True])
def test_a_shell_on_one_node_trains_and_the_variables_are_named(
    is_parallel: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert find_processes(trainer(), is_parallel, INHERITED) == Processes("cpu", 1, 1, False)
    assert "SLURM_NTASKS=4, but srun has not started this process: it does not wait for other tasks" in caplog.text
    caplog.clear()
    find_processes(trainer(), is_parallel, INHERITED | {"LOCAL_RANK": "1"})  # a process that Lightning has started
    find_processes(trainer(), is_parallel, {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0"})
    assert caplog.text == ""
    assert tasks_not_started({}, True) is None


def test_each_task_may_have_a_gpu_of_its_own() -> None:
    own = [{"SLURM_GPUS_PER_TASK": "1"}, {"SLURM_TRES_PER_TASK": "cpu=4,gres/gpu=1"}, {"SLURM_NTASKS_PER_GPU": "1"}]
    for variables in (*own, {"SLURM_GPU_BIND": "single:1"}):
        assert has_own_gpus(4, 1, SRUN | variables)
        assert not has_own_gpus(4, 4, SRUN | variables)
        assert not has_own_gpus(4, 1, SRUN | variables | {"TORCHELASTIC_RUN_ID": "x"})
    for variables in ({}, {"SLURM_TRES_PER_TASK": "cpu=4"}, {"SLURM_GPU_BIND": "none"}):
        with pytest.raises(
            ValueError, match=r"started 4 tasks on this node, but each sees 1 GPU; take --gpus-per-task=1"
        ):
            has_own_gpus(4, 1, SRUN | variables)
