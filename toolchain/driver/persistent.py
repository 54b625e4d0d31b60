"""The tensors that live from batch to batch: what was shipped, and what adaptation changes."""

from typing import Dict, List, Mapping

import numpy as np

from toolchain.driver.bundle import PARAMETERS, Bundle
from toolchain.driver.manifest import Manifest, TensorFacts
from toolchain.driver.tensors import read_tensors
from toolchain.errors import BundleError

SHIPPED = ("parameter", "frozen", "statistic")
ZEROED = ("moment", "counter", "average", "gradient")
TEACHER = "teacher"
STATE = ("parameter", "statistic", "moment", "counter", "average", TEACHER)
"""The roles of what adaptation changes and has to remember."""

PER_RUN = ("images", "prune_ratios", "learning_rate", "active")
PER_BATCH = ("sample_mask", "targets", "log_targets", "channel_keys")
"""What a method feeds beside the images. By itself every sample counts, and the others are zero."""

PASSING = {*PER_RUN, *PER_BATCH}


def shipped_tensors(bundle: Bundle) -> Dict[str, np.ndarray]:
    """Every input of the step that lives from batch to batch, as the bundle was built. Raises BundleError."""
    path = bundle.file(PARAMETERS)
    try:
        shipped = read_tensors(path).tensors
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read ({error}): build the bundle again") from error
    inputs = _persistent_inputs(bundle.manifest)
    return {tensor.name: _initial(tensor, shipped) for tensor in inputs}


def _persistent_inputs(manifest: Manifest) -> List[TensorFacts]:
    graphs = [facts for facts in (manifest.step, manifest.native, manifest.predict) if facts is not None]
    found = {tensor.name: tensor for facts in graphs for tensor in facts.inputs if tensor.role not in PASSING}
    found.update({tensor.name: tensor for tensor in manifest.method.state})
    unknown = {tensor.role for tensor in found.values()} - {*SHIPPED, *ZEROED, TEACHER}
    if unknown:
        raise BundleError(f"manifest.json: input roles {', '.join(unknown)} are unknown here: update toolchain")
    return list(found.values())


def _initial(tensor: TensorFacts, shipped: Mapping[str, np.ndarray]) -> np.ndarray:
    if tensor.role in ZEROED:
        return np.zeros([int(length) for length in tensor.shape], tensor.dtype)
    name = tensor.name[: -len(f".{TEACHER}")] if tensor.role == TEACHER else tensor.name
    array = shipped.get(name)
    if array is None or array.shape != tensor.shape or array.dtype != tensor.dtype:
        wanted = f"{name} {tensor.dtype} {list(tensor.shape)}"
        raise BundleError(f"{PARAMETERS} lacks {wanted}: build the bundle again")
    return array.copy() if tensor.role == TEACHER else array


def deployed(tensors: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """What predicts when nothing adapts: a teacher, where there is one, in place of its student."""
    suffix = f".{TEACHER}"
    taught = {name[: -len(suffix)]: array for name, array in tensors.items() if name.endswith(suffix)}
    return {**tensors, **taught}


def state_of(manifest: Manifest) -> List[TensorFacts]:
    """What adaptation changes and has to remember."""
    return [*manifest.step.inputs_of(*STATE), *manifest.method.state]
