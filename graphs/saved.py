"""What else than pruned activations waits between forward and backward."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SavedTensor:
    """A value that waits for the backward pass: `bytes` + `bytes_per_sample` for each sample of the batch."""

    name: str
    kind: str
    bytes_per_sample: int
    bytes: int
