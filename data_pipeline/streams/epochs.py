"""Passes over a split, one after another: which one holds a sample, and how many lie before it."""

from collections.abc import Callable


class Epochs:
    """The epochs of an endless stream of examples.

    Args:
        size_of: Function of the number of a cut of the corpus that returns how many examples the cut gives.
        dupe_factor: Cuts of the corpus, which the epochs take in turn.
    """

    def __init__(self, size_of: Callable[[int], int], dupe_factor: int) -> None:
        self._size_of = size_of
        self._dupe_factor = dupe_factor

    def variant(self, epoch: int) -> int:
        """Return the cut of the corpus that an epoch reads."""
        return epoch % self._dupe_factor

    def size(self, epoch: int) -> int:
        """Return the number of examples of an epoch."""
        return self._size_of(self.variant(epoch))

    def holding(self, sample: int) -> tuple[int, int]:
        """Return the epoch a sample is in and the sample it begins with.

        The sizes of epochs repeat every `dupe_factor` of them.
        """
        epoch, begin = 0, 0
        while sample >= begin + (size := self.size(epoch)):
            epoch, begin = epoch + 1, begin + size
            if epoch == self._dupe_factor:
                cycles = sample // begin
                epoch, begin = epoch * cycles, begin * cycles
        return epoch, begin

    def end(self, sample: int) -> int:
        """Return the sample with which the epoch after the one of a sample begins."""
        epoch, begin = self.holding(sample)
        return begin + self.size(epoch)

    def passed(self, sample: int) -> float:
        """Return how many passes over the corpus lie before a sample, as a fraction."""
        epoch, begin = self.holding(sample)
        return epoch + (sample - begin) / self.size(epoch)

    def sample_after(self, passes: float) -> int:
        """Return the sample before which so many passes lie, to the nearest one: the inverse of `passed`.

        >>> epochs = Epochs([10, 12].__getitem__, dupe_factor=2)
        >>> epochs.passed(28), epochs.sample_after(2.6)
        (2.6, 28)
        """
        epoch = int(passes)
        cycles, left = divmod(epoch, self._dupe_factor)
        begin = sum(self.size(earlier) for earlier in range(left))
        if cycles:
            begin += cycles * sum(self.size(variant) for variant in range(self._dupe_factor))
        return begin + round((passes - epoch) * self.size(epoch))
