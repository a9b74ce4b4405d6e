"""A tiny corpus, its tokenizer and a prepared folder, shared by the tests."""

import logging
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

# One thread a process: the threads of several processes that wait for each other in spin loops slow each other 30-fold.
os.environ["OMP_NUM_THREADS"] = "1"
# Processes begin sooner with the module of this folder.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).with_name("startup")), os.environ.get("PYTHONPATH")])
)

import pytest
from tokenizers import Tokenizer

from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.support.settings import TINY, Settings
from tests.support.texts import tiny_texts, write_prepared

KERNELS = ("attention_kernels.py", "fused_attention.py", "fused_pointwise.py", "pointwise_kernels.py")


def pytest_configure(config: pytest.Config) -> None:
    """Leave the doctests of GPU kernels out if there is no Triton; hear Ctrl-C also if a shell started us with &."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if find_spec("triton") is None:
        kernels = [config.rootpath / "bert_lightning/models" / name for name in KERNELS]
        config.option.ignore = [*(config.option.ignore or []), *map(str, kernels)]


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """Environment variables and handlers of log lines that a test or its libraries set end with the test.

    Later commands would inherit the variables; a handler of Hydra would write into a stream that pytest has closed.
    """
    variables, handlers = dict(os.environ), list(logging.getLogger().handlers)
    yield
    os.environ.clear()
    os.environ.update(variables)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A WordPiece tokenizer of about 120 pieces."""
    return train_wordpiece([" ".join(document) for document in tiny_texts(200)], vocab_size=120)


@pytest.fixture
def base(prepared: Path, tmp_path: Path) -> Settings:
    """Settings of a tiny run of bert-pretrain on the prepared folder, which writes into the test's folder."""
    return TINY | {"data.path": prepared, "data.cache_dir": tmp_path / "index", "output_dir": tmp_path / "runs"}


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    """No graph of another test, and counters at zero."""
    import torch
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A prepared folder of 9 training shards of 12 documents each, and 15 held-out documents."""
    shards = [tiny_texts(12, seed=shard + 1) for shard in range(9)]
    return write_prepared(tmp_path_factory.mktemp("prepared"), tokenizer, shards, tiny_texts(15, seed=99))
