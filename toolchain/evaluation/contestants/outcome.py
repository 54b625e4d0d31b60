"""What a contestant makes of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Outcome:
    """predictions int64 [N], from before the batch was learnt from; None: the batch was skipped. facts: of the step."""

    predictions: npt.NDArray[np.int64] | None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def wrong(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the labels [N] were missed; those of a skipped batch all were."""
        if self.predictions is None:
            return np.ones(len(labels), np.bool_)
        found: npt.NDArray[np.bool_] = self.predictions != labels
        return found
