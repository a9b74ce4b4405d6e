"""The state of a training stream, as checkpoints have it: how far the run has read, and in which stream."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from data_pipeline.untrusted.typed_fields import checked, entry, shown, whole_number

VERSION = 1
MOST_SAMPLES = 10**12
"""Far above any run, and far below where the arithmetic of the stream ends."""
_SETTINGS = {"quarantine": "data.exclude_shards"}
"""Settings of entries of the fingerprint that have another name; entries keep theirs for checkpoints that exist."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """How far a run has read; the same on every rank.

    Attributes:
        consumed_samples: Samples of the global batches that were yielded.
        global_batch_size: Examples of one optimizer step, over all ranks.
        fingerprint: Everything that decides the examples of the stream.
    """

    consumed_samples: int
    global_batch_size: int
    fingerprint: Mapping[str, object]

    def as_dict(self) -> dict[str, object]:
        """Return the state as plain values."""
        return {
            "version": VERSION,
            "consumed_samples": self.consumed_samples,
            "global_batch_size": self.global_batch_size,
            "fingerprint": dict(self.fingerprint),
        }

    @classmethod
    def read(cls, content: object, where: str = "the checkpoint") -> "StreamState":
        """Return a state out of plain values.

        Args:
            content: What `as_dict` has returned, or what stands in its place.
            where: The checkpoint, for errors.

        Raises:
            ValueError: naming the field that is absent, of another type, or out of range, or the version if this
                program does not read it.
        """
        state = checked(content, dict[str, object], where, "the position in the stream")
        if (version := state.get("version", VERSION)) != VERSION:
            raise ValueError(f"{where} has a position in the stream of version {shown(version)}, not {VERSION}")
        samples, batch, fingerprint = (entry(state, field.name, where=where) for field in fields(cls))
        return cls(
            whole_number(samples, where, "consumed_samples", 0, MOST_SAMPLES),
            whole_number(batch, where, "global_batch_size", 1, MOST_SAMPLES),
            checked(fingerprint, dict[str, object], where, "fingerprint"),
        )

    def check_stream(self, fingerprint: Mapping[str, object]) -> None:
        """Raise a ValueError with every entry that differs, if the fingerprint of a stream is another one."""
        if self.fingerprint == fingerprint:
            return
        before, now = _flat(self.fingerprint), _flat(fingerprint)
        listed = "; ".join(
            f"{_SETTINGS.get(name, name)} was {before.get(name)} and is {now.get(name)}"
            for name in now | before
            if before.get(name) != now.get(name)
        )
        raise ValueError(f"the checkpoint was made on another stream of examples, which cannot be continued: {listed}")


def _flat(fingerprint: Mapping[str, object]) -> dict[str, object]:
    """Return a fingerprint in which every setting of a finished phase is an entry, such as `phases[0].steps`."""
    flat = {name: value for name, value in fingerprint.items() if name != "phases"}
    phases = fingerprint.get("phases", [])
    for number, phase in enumerate(phases if isinstance(phases, list) else [phases]):
        entries = phase if isinstance(phase, dict) else {"settings": phase}
        flat |= {f"phases[{number}].{name}": value for name, value in entries.items()}
    return flat
