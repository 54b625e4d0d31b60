"""What the manifest says of a method: the piece of the driver that runs it, with its numbers and its state."""

from collections.abc import Iterable, Iterator

from toolchain.driver.manifest import MethodFacts, ProbeFacts, TensorFacts
from toolchain.methods import Choices
from toolchain.methods.declaration import Adam, LayerRates, Method, Sharpness, Teacher


def method_facts(method: Method, choices: Choices, parameters: Iterable[TensorFacts], batch: int) -> MethodFacts:
    """parameters: those that train, as inputs of the step. batch: images."""
    optimizer = method.optimizer
    return MethodFacts(
        name=method.name,
        train=method.train,
        controller=method.controller,
        learning_rate=method.learning_rate(batch),
        optimizer="none" if optimizer is None else optimizer.name,
        probe=ProbeFacts(method.probe.samples, method.probe.prune_ratio),
        prune_ratio=method.prune_ratio,
        choices=vars(choices),
        procedure=_procedure(method),
        numbers=method.numbers,
        state=tuple(_state(method, tuple(parameters))),
    )


def _procedure(method: Method) -> str:
    if method.mecta is not None:
        return "channels"
    return "step" if method.beside is None else method.beside.name


def _state(method: Method, parameters: tuple[TensorFacts, ...]) -> Iterator[TensorFacts]:
    """What lives from batch to batch beside the graph's own inputs."""
    beside = method.beside
    if isinstance(beside, Teacher):
        yield from _like(parameters, "teacher", "teacher")
    if isinstance(beside, LayerRates):
        yield TensorFacts("fisher.average", "average", "float32", (len(parameters),))
    elif method.update == "driver":
        yield from _moments(method, parameters)
    if isinstance(beside, Sharpness):
        yield TensorFacts("loss.average", "average", "float32", (1,))


def _moments(method: Method, parameters: tuple[TensorFacts, ...]) -> Iterator[TensorFacts]:
    yield from _like(parameters, "moment1", "moment")
    if isinstance(method.optimizer, Adam):
        yield from _like(parameters, "moment2", "moment")
        yield TensorFacts("optimizer.step", "counter", "float32", (1,))


def _like(parameters: tuple[TensorFacts, ...], kind: str, role: str) -> Iterator[TensorFacts]:
    for tensor in parameters:
        yield TensorFacts(f"{tensor.name}.{kind}", role, tensor.dtype, tensor.shape)
