"""Every error that a user meets, and the exit code of each.

    ToolchainError             exit 1   the user can act on it
    ├── UsageError             exit 2   an argument that no run could accept
    ├── ModelError                      the model, its weights or its operators
    ├── TargetError                     what the board cannot run
    ├── BundleError                     a file of the bundle is missing, altered or too new
    ├── StateError                      saved adapted state that is torn or foreign
    ├── InputError                      images that cannot be used
    ├── DependencyError                 a package that this Python lacks
    ├── EngineError                     TensorRT or CUDA, which may fail: onnxruntime does without
    ├── DeployError                     a device that could not be given its bundle
    └── InternalError          exit 70  our own fault

A message says what happened, where, and what to do. Anything that is not a `ToolchainError` is a bug and
leaves with exit code 70 as well. This file is copied into every bundle: Python 3.8, standard library only.
"""


class ToolchainError(Exception):
    """Base of all errors with a message meant for the user."""

    exit_code = 1


class UsageError(ToolchainError):
    exit_code = 2


class ModelError(ToolchainError):
    pass


class TargetError(ToolchainError):
    pass


class BundleError(ToolchainError):
    pass


class StateError(ToolchainError):
    pass


class InputError(ToolchainError):
    pass


class DependencyError(ToolchainError):
    pass


class EngineError(ToolchainError):
    pass


class DeployError(ToolchainError):
    pass


class InternalError(ToolchainError):
    exit_code = 70
