"""The inference side of a bundle: its graph, and the weights that adapted tensors make of it."""

from typing import Dict, Mapping, Optional

import numpy as np

from toolchain.driver.bundle import Bundle
from toolchain.driver.onnx_file import float_initializers, replace_initializers
from toolchain.driver.persistent import deployed, shipped_tensors
from toolchain.driver.refit import Recipe, fold, read_recipe
from toolchain.driver.session_onnxruntime import InferSession
from toolchain.errors import BundleError

Tensors = Mapping[str, np.ndarray]


class InferenceModel:
    """infer/model.onnx and infer/tensorrt.json."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises BundleError."""
        self.facts = bundle.manifest.infer
        self.file = bundle.file(self.facts.file)
        self.content = self.file.read_bytes()
        self.max_batch = bundle.manifest.batch
        self.sample_shape = (bundle.manifest.model.channels, *[bundle.manifest.model.image_size] * 2)
        self._bundle = bundle

    @property
    def recipe(self) -> Recipe:
        if self.facts.recipe is None:
            raise BundleError("manifest.json has no infer.recipe to fold adapted weights with: build the bundle again")
        return read_recipe(self._bundle.file(self.facts.recipe))

    def weights(self, adapted: Optional[Tensors]) -> Dict[str, np.ndarray]:
        """What the graph holds, float32 by name, for adapted tensors by input name of the step; None: as shipped.

        What `adapted` lacks is read from the bundle.
        """
        given = adapted or {}
        if not self.recipe.sources <= given.keys():
            given = {**shipped_tensors(self._bundle), **given}
        return fold(self.recipe, deployed(given))

    def constants(self) -> Dict[str, np.ndarray]:
        """The float32 initialisers that no adaptation changes."""
        adapted = {entry.name for entry in self.recipe.refit}
        found = float_initializers(self.content)
        return {name: array for name, array in found.items() if name not in adapted}

    def session(self, weights: Optional[Tensors], threads: Optional[int]) -> InferSession:
        """In ONNX Runtime, with these weights; None: as shipped."""
        model = self.content if weights is None else replace_initializers(self.content, weights)
        return InferSession(model, self.file, threads)
