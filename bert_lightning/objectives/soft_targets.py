"""The scores of a teacher as targets, made softer by a temperature (Hinton et al., 2015)."""

from torch import Tensor
from torch.nn import functional as F


def soft_losses(scores: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Return the divergence of each row of scores from a teacher's, in fp32, (rows,).

    KL(softmax(taught / T) || softmax(scores / T)), times T^2, which keeps the size of the gradients whatever T is.

    Args:
        scores: Scores of the student, (rows, classes).
        taught: Scores of the teacher, (rows, classes).
        temperature: T.
    """
    said, wanted = ((each.float() / temperature).log_softmax(-1) for each in (scores, taught))
    return F.kl_div(said, wanted, reduction="none", log_target=True).sum(-1) * temperature**2
