"""Images that a model was trained on, for methods that look at some of them while a bundle is built."""

import numpy as np

from toolchain.driver.images import open_images
from toolchain.driver.manifest import ModelFacts
from toolchain.errors import UsageError
from toolchain.methods.declaration import Method
from toolchain.models.registry import LoadedModel
from toolchain.models.source_data import SourceData, prepared, read_source_data
from toolchain.request import Request


def labelled_images(request: Request) -> SourceData:
    """Raises UsageError where there are none; InputError."""
    if request.source is None:
        raise UsageError(
            f"--method {request.method} learns from labelled images that the model was trained on: "
            "give --source FILE.npz with x_train and y_train"
        )
    return read_source_data(request.source)


def anchoring_images(request: Request, method: Method, model: LoadedModel) -> np.ndarray | None:
    """Images of the source float32 [M, 3, H, W], preprocessed, where the method holds parameters to where they were.

    Raises UsageError where there are none; InputError.
    """
    if method.anchor is None:
        return None
    if request.source is None:
        raise UsageError(
            f"--method {method.name} measures on images that the model was trained on which parameters matter: "
            "give --source FILE.npz with x_train and y_train, or a folder of images"
        )
    if request.source.suffix == ".npz":
        data = read_source_data(request.source).images[: method.anchor.samples]
        return np.asarray(prepared(data, model.preprocessing).numpy())
    images = open_images(request.source, ModelFacts(model.name, 0, 3, model.image_size, model.preprocessing))
    return images.read(0, min(len(images), method.anchor.samples))
