"""Names of the files in a checkpoint folder; torch.distributed.checkpoint names those that hold tensors."""

METADATA = ".metadata"
"""torch's table of tensors and of the places where their parts are kept."""
MAX_METADATA_BYTES = 1 << 28
"""Most bytes of the metadata, which takes about a hundred for every part of a tensor."""
METADATA_SHA256 = "metadata.sha256"
"""Hash of the metadata; folders of earlier versions have none."""
