"""Several runs in one launch, so that tests with many processes pay for starting them once.

    torchrun --standalone --nproc-per-node=2 -m tests.support.many_runs runs.json

The file holds a list of lists of overrides of bert-pretrain.
"""

import json
import sys
from pathlib import Path

from bert_lightning.distributed.collectives import shut_down
from bert_lightning.pretrain import pretrain
from tests.support.checkout import checkout_environment, torchrun
from tests.support.configs import compose_config
from tests.support.settings import Settings, overrides
from tests.support.warm_start import run_module


def run_together(runs: list[Settings], processes: int, folder: Path, timeout: float = 240) -> None:
    """Run bert-pretrain once for each of `runs`, one after another, on the same processes."""
    listed = folder / "runs.json"
    listed.write_text(json.dumps([overrides(settings) for settings in runs]))
    _, launcher, *words = torchrun(processes)
    done = run_module(
        launcher, [*words, "tests.support.many_runs", str(listed)], folder, checkout_environment(), timeout
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-9000:]


if __name__ == "__main__":
    pretrain_module = sys.modules["bert_lightning.pretrain"]
    vars(pretrain_module)["shut_down"] = lambda: None  # the next run takes the group over
    for arguments in json.loads(Path(sys.argv[1]).read_text()):
        pretrain(compose_config("pretrain", arguments))
    shut_down()
