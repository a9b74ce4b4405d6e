"""The queue: which measurements, in which order, how long each may take, and what each answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

RUN = ("trainer.accelerator=gpu", "data.num_workers=8", "logger=csv", "trainer.limit_val_batches=0")
ALONE = ("accelerator=gpu", "lengths=mlperf", "baseline=none", "part.repeats=8", "part.steps=4")
TESTS = "do the project's tests of a GPU pass"
GPU_TESTS = ("tests/runs/test_on_gpu.py", "tests/models/test_attention.py")
NO_DROPOUT = ("model.hidden_dropout_prob=0", "model.attention_probs_dropout_prob=0")


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement.

    Attributes:
        name: Name of its file.
        answers: The question it answers.
        work: A key of `works.WORKS`.
        settings: Settings of the command that it measures.
        expected: Seconds it takes; the step is not begun if fewer are left.
        limit: Seconds after which it is stopped.
    """

    name: str
    answers: str
    work: str
    settings: tuple[str, ...]
    expected: int
    limit: int


def shape(model: str, seq_len: int, examples: int) -> tuple[str, ...]:
    """Return the settings of a model and its micro-batch."""
    return (f"model=bert_{model}", f"data.seq_len={seq_len}", f"data.micro_batch_size={examples}")


# A micro-batch has room for 64k tokens; at MLPerf's lengths half of them are real.
BASE_128, BASE_512 = shape("base", 128, 512), shape("base", 512, 128)
LARGE_128, LARGE_512 = shape("large", 128, 512), shape("large", 512, 128)


def alone(name: str, answers: str, settings: tuple[str, ...], expected: int = 16, limit: int = 150) -> Step:
    """Return a measurement of ours without a baseline."""
    return Step(name, answers, "benchmark", (*settings_over(ALONE, settings),), expected, limit)


def beside(kind: str, name: str, settings: tuple[str, ...], expected: int, limit: int = 240) -> Step:
    """Return a measurement of ours beside one of transformers' models."""
    chosen = settings_over(ALONE, (*settings, f"baseline={kind}", "part.steps=2"))
    return Step(name, "how many times faster ours is, and with how much memory", "benchmark", chosen, expected, limit)


def settings_over(first: tuple[str, ...], later: tuple[str, ...]) -> tuple[str, ...]:
    """Return the settings of both; the later value of a key counts."""
    return tuple({setting.partition("=")[0]: setting for setting in (*first, *later)}.values())


def queue() -> list[Step]:
    """Return all steps; the order is that of their worth."""
    first = [*_is_it_right_and_fast(), *_is_base_limited_by_the_host(), *_tests(), *_whole_runs()]
    return [*first, *_full_rows(), *_beside_transformers(), *_variants(), *_family(), *_float8()]


def chosen(names: Sequence[str]) -> list[Step]:
    """Return the steps with these names in their order, or the whole queue if there are none.

    Raises:
        ValueError: if there is no step of a name.
    """
    every = {step.name: step for step in queue()}
    if unknown := ", ".join(name for name in names if name not in every):
        raise ValueError(f"there is no step {unknown}; there are {', '.join(every)}")
    return [every[name] for name in names or every]


def _is_it_right_and_fast() -> list[Step]:
    return [
        Step(
            "parity", "is the step right, in fp32, bf16 and compiled", "parity", (*BASE_128, "accelerator=gpu"), 45, 150
        ),
        alone("base-512", "how fast is base at 512; aim: MFU 42%", BASE_512),
        alone("base-128", "how fast is base at 128; aim: MFU 42%", BASE_128),
        alone("large-512", "how fast is large at 512; aims: MFU 48%, 950 examples/s", LARGE_512, 18),
        alone("large-128", "how fast is large at 128; aim: MFU 47%", LARGE_128, 18),
        beside("hf_compiled", "base-512-compiled", BASE_512, 45),
    ]


def _is_base_limited_by_the_host() -> list[Step]:
    """Return base with twice the work a step, and where its steps go."""
    answers = "is base limited by the host"
    return [
        alone("base-128-twice", answers, shape("base", 128, 1024)),
        alone("base-512-twice", answers, shape("base", 512, 256)),
        Step("run-base-128", "where does a step of base go", "pretrain", profiled_run(BASE_128, 512), 45, 150),
        alone("base-512-whole", "is one graph faster than layers", (*BASE_512, "compile=model"), 40, 240),
    ]


def _tests() -> list[Step]:
    settings = (*BASE_128, *NO_DROPOUT, "accelerator=gpu")
    return [
        Step("gpu-tests", TESTS, "tests", (*GPU_TESTS, "-n6", "-k", "not cuda_graphs"), 110, 240),
        Step("gradients", "do compiled gradients equal eager ones after 20 steps", "gradients", settings, 35, 150),
    ]


def profiled_run(settings: tuple[str, ...], examples: int) -> tuple[str, ...]:
    """Return the settings of a run with a profile."""
    steps = ("trainer.max_steps=40", "trainer.log_every_n_steps=20")
    return (*RUN, *settings, f"data.global_batch_size={examples}", *steps, "callbacks=profile")


def _whole_runs() -> list[Step]:
    watched = "+callbacks.no_waiting._target_=gpu_session.no_waiting.NoWaiting"
    run = (*RUN, *BASE_128, "data.global_batch_size=1024", "trainer.max_steps=16", "trainer.log_every_n_steps=8")
    profiled = profiled_run(LARGE_512, 128)
    return [
        Step("run-large-512", "where does a step go, with the loader running", "pretrain", profiled, 60, 180),
        Step("no-waiting", "does the loop never wait for the device", "pretrain", (*run, watched), 42, 120),
    ]


def _full_rows() -> list[Step]:
    return [
        alone("large-512-full", "the same on full rows", (*LARGE_512, "lengths=full"), 20),
        alone("base-512-full", "the same on full rows", (*BASE_512, "lengths=full")),
        alone("large-128-full", "the same on full rows", (*LARGE_128, "lengths=full"), 20),
        alone("base-128-full", "the same on full rows", (*BASE_128, "lengths=full")),
    ]


def _beside_transformers() -> list[Step]:
    """Return comparisons at sizes that fit 80 GB: large eager at 128 examples of 512 needs about 101."""
    large_512, large_128 = shape("large", 512, 64), shape("large", 128, 256)
    return [
        beside("hf_eager", "base-512-eager", BASE_512, 22),
        beside("hf_padding_free", "base-512-padding-free", BASE_512, 25),
        beside("hf_eager", "large-512-eager", large_512, 34),
        beside("hf_compiled", "large-512-compiled", large_512, 100),
        beside("hf_padding_free", "large-512-padding-free", large_512, 34),
        beside("hf_eager", "base-128-eager", BASE_128, 22),
        beside("hf_eager", "large-128-eager", large_128, 34),
    ]


def _variants() -> list[Step]:
    attention = "model.attention_probs_dropout_prob=0"
    return [
        alone("large-512-no-attention-dropout", "what does dropout in attention cost", (*LARGE_512, attention)),
        alone("large-512-no-dropout", "what does dropout cost", (*LARGE_512, *NO_DROPOUT)),
        alone("large-512-chunks", "what do chunked scores cost and save", (*LARGE_512, "objective.chunk_rows=2048")),
        alone("large-512-uncompiled", "what does compiling gain", (*LARGE_512, "compile=none"), 14),
        alone("base-512-fixed-shapes", "are fixed shapes faster", (*BASE_512, "compile.dynamic=false"), 70, 240),
        alone("base-128-cuda-graphs", "do CUDA graphs pay", (*BASE_128, "compile=cuda_graphs"), 130, 300),
        alone("large-512-whole", "is one graph faster than layers", (*LARGE_512, "compile=model"), 80, 240),
        Step("gpu-tests-cuda-graphs", TESTS, "tests", (*GPU_TESTS, "-k", "cuda_graphs"), 200, 360),
    ]


def _float8() -> list[Step]:
    """Return measurements of fp8, which was slower than bf16 the first time."""
    fp8, profiled = "precision=fp8", (*profiled_run(LARGE_512, 128), "trainer.precision=fp8")
    return [
        alone("large-512-fp8", "is fp8 faster; aim: 1.15 times bf16", (*LARGE_512, fp8), 30),
        alone("base-512-fp8", "is fp8 faster; aim: 1.15 times bf16", (*BASE_512, fp8), 25),
        Step("run-large-512-fp8", "what does fp8 cost", "pretrain", profiled, 70, 180),
    ]


def _family() -> list[Step]:
    """Return short runs of encoders with windows, rotary positions and without biases."""
    sizes = ("data.seq_len=512", "data.micro_batch_size=64", "data.global_batch_size=64", "pairs=full_sentences")
    short = (*RUN, *sizes, "trainer.max_steps=16", "trainer.log_every_n_steps=8")
    modern, gpt = ("model=modern_base", "objective=mlm"), ("model=gpt2_small", "objective=causal_lm")
    return [
        Step("run-modern-base", "does the modern encoder run", "pretrain", (*short, *modern), 45, 150),
        Step("run-gpt2-small", "does a causal model run", "pretrain", (*short, *gpt), 45, 150),
    ]


TINY = {
    "accelerator=gpu": "accelerator=cpu",
    "trainer.accelerator=gpu": "trainer.accelerator=cpu",
    "model=bert_base": "model=bert_tiny",
    "model=bert_large": "model=bert_mini",
    "data.seq_len=128": "data.seq_len=32",
    "data.seq_len=512": "data.seq_len=64",
    "precision=fp8": "precision=bf16-mixed",
    "trainer.precision=fp8": "trainer.precision=bf16-mixed",
    "-n6": "-n0",
    "data.micro_batch_size": "data.micro_batch_size=8",
    "data.global_batch_size": "data.global_batch_size=16",
    "data.num_workers": "data.num_workers=0",
    "part.repeats": "part.repeats=2",
    "part.steps": "part.steps=1",
    "trainer.max_steps": "trainer.max_steps=6",
    "trainer.log_every_n_steps": "trainer.log_every_n_steps=3",
    "objective.chunk_rows": "objective.chunk_rows=16",
}
"""Replacements that let a CPU go through the queue: of a setting, or of any value of its key."""
TINY_MODEL = (
    "model.hidden_size=32",
    "model.num_hidden_layers=2",
    "model.num_attention_heads=2",
    "model.intermediate_size=64",
)
TRACED = ("compile.on_cpu=true", "compile.backend=aot_eager")
"""Compilation that makes the graphs and no kernels; for the steps that are about it."""
TINY_EXTRAS = {
    "benchmark": (*TINY_MODEL, "part.num_batches=2"),
    "parity": (*TINY_MODEL, *TRACED),
    "gradients": (*TINY_MODEL, *TRACED),
    "pretrain": TINY_MODEL,
    "tests": (),
}
PROFILE = ("callbacks.profile.skip_steps=2", "callbacks.profile.num_steps=2")


def tiny(step: Step) -> Step:
    """Return the same step at a size for a CPU."""
    settings = [TINY.get(setting, TINY.get(setting.partition("=")[0], setting)) for setting in step.settings]
    extras = TINY_EXTRAS[step.work] + (PROFILE if "callbacks=profile" in settings else ())
    extras += TRACED if any("compile" in setting for setting in settings) else ()
    return replace(step, settings=settings_over(tuple(settings), extras), expected=10, limit=120)
