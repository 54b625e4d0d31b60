"""From a model's name to a PyTorch module with its weights and its preprocessing.

A name is one of ours (`cifar_resnet20`), a torchvision classification model (`resnet50`), `timm:NAME`, or
`package.module:factory`, a callable without required arguments that returns a `torch.nn.Module`.
"""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from toolchain.driver.manifest import Preprocessing
from toolchain.errors import ModelError, UsageError
from toolchain.models import cifar_resnet, efficientnet_lite0, resnext, wide_resnet
from toolchain.models.checkpoint import fit, read_checkpoint

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNET20 = Path(__file__).parent / "weights" / "cifar_resnet20.safetensors"


@dataclass(frozen=True)
class LoadedModel:
    """A module in eval mode; image_size in pixels, the side of the square that it takes."""

    name: str
    module: nn.Module = field(repr=False)
    image_size: int
    preprocessing: Preprocessing


def imagenet_preprocessing(crop: int, resize: int) -> Preprocessing:
    return Preprocessing(resize, "bilinear", crop, 1.0, IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True)
class Entry:
    """A model of ours: how to make it, what it was trained to see, and its trained weights, if there are any."""

    make: Callable[[], nn.Module]
    image_size: int
    preprocessing: Preprocessing
    published: Callable[[], dict[str, torch.Tensor]] | None = None


def cifar_preprocessing(mean: float, std: float) -> Preprocessing:
    return Preprocessing(None, "bilinear", 32, 1.0, (mean,) * 3, (std,) * 3)


CIFAR = Preprocessing(None, "bilinear", 32, 1.0, IMAGENET_MEAN, IMAGENET_STD)
PIXELS = cifar_preprocessing(0.0, 1.0)
"""RobustBench's standard WRN-28-10 takes pixels from 0 to 1 as they are."""
AUGMIX = cifar_preprocessing(0.5, 0.5)
"""Its AugMix models take them from -1 to 1."""
OWN = {
    "cifar_resnet20": Entry(cifar_resnet.resnet20, 32, CIFAR, partial(read_checkpoint, RESNET20)),
    "cifar_resnet56": Entry(cifar_resnet.resnet56, 32, CIFAR),
    "wrn_28_10": Entry(wide_resnet.wrn_28_10, 32, PIXELS),
    "wrn_28_10_cifar100": Entry(partial(wide_resnet.wrn_28_10, 100), 32, PIXELS),
    "wrn_40_2": Entry(wide_resnet.wrn_40_2, 32, AUGMIX),
    "wrn_40_2_cifar100": Entry(partial(wide_resnet.wrn_40_2, 100), 32, AUGMIX),
    "resnext29_4x32d": Entry(resnext.resnext29_4x32d, 32, AUGMIX),
    "resnext29_4x32d_cifar100": Entry(partial(resnext.resnext29_4x32d, 100), 32, AUGMIX),
    "efficientnet_lite0": Entry(
        efficientnet_lite0.efficientnet_lite0,
        224,
        Preprocessing(256, "bicubic", 224, 255.0, (127.0,) * 3, (128.0,) * 3),
        efficientnet_lite0.published_weights,
    ),
}


def load_model(name: str, weights: str | None = None, image_size: int | None = None) -> LoadedModel:
    """The model called `name` in eval mode.

    weights: a safetensors file or a torch checkpoint; "none" for seeded random values; None for the published
    ones. image_size: pixels, None for the size the model was trained at.
    Raises UsageError for an unknown name and ModelError for weights that cannot be had or do not fit.
    """
    torch.manual_seed(0)
    model = _find(name)(name, weights)
    if weights == "none":
        _wake(model.module)
    elif weights is not None:
        fit(model.module, read_checkpoint(Path(weights)), weights)
    model.module.float().eval()
    return model if image_size is None else _resized(model, image_size)


def _wake(module: nn.Module) -> None:
    """Random values for weight matrices that start as zeros, as a ViT's head does: no gradient would pass them."""
    for parameter in module.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.trunc_normal_(parameter, std=0.02)


def torchvision_names() -> list[str]:
    """Names of torchvision's classification models."""
    models = _library("torchvision.models", "torchvision")
    return list(models.list_models(module=models))


def _find(name: str) -> Callable[[str, str | None], LoadedModel]:
    if name in OWN:
        return _load_own
    if name.startswith("timm:"):
        return _load_timm
    return _load_factory if ":" in name else _load_torchvision


def _load_own(name: str, weights: str | None) -> LoadedModel:
    entry = OWN[name]
    module = entry.make()
    if weights is None and entry.published is None:
        raise ModelError(f"no trained weights of {name} are published: give --weights FILE, or none for random values")
    if weights is None and entry.published is not None:
        fit(module, entry.published(), f"what is published of {name}")
    return LoadedModel(name, module, entry.image_size, entry.preprocessing)


def _load_torchvision(name: str, weights: str | None) -> LoadedModel:
    models = _library("torchvision.models", name)
    if name not in torchvision_names():
        raise UsageError(f"unknown model {name!r}: `toolchain models` lists the names")
    published = models.get_model_weights(name).DEFAULT if weights is None else None
    module = _download(name, lambda: models.get_model(name, weights=published))
    return LoadedModel(name, module, 224, imagenet_preprocessing(224, 256))


def _load_timm(name: str, weights: str | None) -> LoadedModel:
    timm = _library("timm", name)
    architecture = name.removeprefix("timm:")
    if not timm.is_model(architecture):
        raise UsageError(f"timm has no model {architecture!r}: see timm.list_models()")
    module = _download(name, lambda: timm.create_model(architecture, pretrained=weights is None))
    config = timm.data.resolve_model_data_config(module)
    size = int(config["input_size"][-1])
    resize = round(size / config["crop_pct"])
    interpolation = "bicubic" if config["interpolation"] == "bicubic" else "bilinear"
    seen = Preprocessing(resize, interpolation, size, 1.0, tuple(config["mean"]), tuple(config["std"]))
    return LoadedModel(name, module, size, seen)


def _load_factory(name: str, weights: str | None) -> LoadedModel:
    module_name, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # the user's own module lies where the user stands
    if not module_name or not function:
        raise UsageError(f"{name!r} is no model: write package.module:factory")
    factory = getattr(_library(module_name, name), function, None)
    if not callable(factory):
        raise UsageError(f"{name}: the module {module_name} has no function {function!r}")
    try:
        module = factory()
    except Exception as error:
        raise ModelError(f"{name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"{name} returned {type(module).__name__}, expected a torch.nn.Module")
    return LoadedModel(name, module, 224, imagenet_preprocessing(224, 256))


def _library(module: str, wanted_by: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"model {wanted_by!r} needs the package {module}: {error}") from error


def _download(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except OSError as error:
        raise ModelError(
            f"the published weights of {name} could not be downloaded ({error}): "
            "give --weights FILE, or --weights none for random values"
        ) from error


def _resized(model: LoadedModel, size: int) -> LoadedModel:
    """The same model fed with squares of another size, resized in the same proportion."""
    seen = model.preprocessing
    resize = None if seen.resize is None else round(seen.resize * size / seen.crop)
    fitted = Preprocessing(resize, seen.interpolation, size, seen.range, seen.mean, seen.std)
    return LoadedModel(model.name, model.module, size, fitted)
