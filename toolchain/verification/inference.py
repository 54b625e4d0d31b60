"""The inference model against the eager model in eval mode."""

from collections.abc import Iterator

import numpy as np
import torch

from toolchain.driver.infer import open_session
from toolchain.verification.case import Case
from toolchain.verification.check import ROUNDING, Check, relative_error


def check_inference(case: Case) -> Iterator[Check]:
    """Logits of infer/model.onnx, whose BatchNorm is folded; limit: 4 times what eager float32 errs, and rounding."""
    images = next(case.batches())
    facts = case.manifest.infer
    found = open_session(case.bundle, None, None).run(facts.input, images, facts.output)
    single, exact = (_logits(case, images, dtype) for dtype in (torch.float32, torch.float64))
    limit = ROUNDING + 4 * relative_error(single, exact)
    yield Check("inference logits", relative_error(found, exact), limit)


def _logits(case: Case, images: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    with torch.no_grad():
        logits = case.module.to(dtype)(torch.from_numpy(images).to(dtype)).numpy()
    case.module.to(torch.float32)
    return np.asarray(logits)
