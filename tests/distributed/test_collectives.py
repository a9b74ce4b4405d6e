"""One process needs no group and pays for none; several are in test_pretrain."""

import torch

from bert_lightning.distributed.collectives import any_rank, shut_down, sum_over_ranks, world_size


def test_one_process_is_its_own_sum() -> None:
    tensor = torch.ones(3)
    assert world_size() == 1
    assert sum_over_ranks(tensor) is tensor
    assert any_rank(True, torch.device("cpu"))
    assert not any_rank(False, torch.device("cpu"))
    shut_down()
