"""Show what a bundle prunes and saves: the method's numbers, layers, bytes dense and pruned, peak memory, operators."""

import argparse
from collections import Counter
from pathlib import Path

from toolchain.cli.arguments import count, ratio
from toolchain.driver.bytesize import format_bytes
from toolchain.driver.output import emit


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--batch", type=count, help="images a step (default: what the bundle was built for)")
    parser.add_argument("--portable", action="store_true", help="the form in standard operators, not native kernels")
    parser.add_argument("--prune-ratio", type=ratio, default=0.9, help="ratio of every layer (default: 0.9)")


def run(options: argparse.Namespace) -> int:
    import onnx

    from toolchain.driver.budget import Work
    from toolchain.driver.bundle import Bundle
    from toolchain.driver.controller import uniform_ratios
    from toolchain.driver.needs import predict_peak, step_bytes

    bundle = Bundle(options.bundle)
    facts = bundle.manifest
    batch = options.batch or facts.batch
    ratios = uniform_ratios(len(facts.layers), options.prune_ratio)
    form = facts.native if facts.native is not None and not options.portable else facts.step
    graph = onnx.load(bundle.file(form.file), load_external_data=False).graph
    peak = predict_peak(facts, form, batch, ratios)
    result = {
        "model": facts.model.name,
        "method": facts.method.name,
        "setting": facts.method.setting,
        "choices": facts.method.chosen,
        "optimizer": facts.method.optimizer,
        "numbers": facts.method.numbers,
        "target": facts.target["name"],
        "batch": batch,
        "prune_ratio": options.prune_ratio,
        "layers": [
            {"name": layer.name, "kind": layer.kind, "elements_per_sample": layer.elements_per_sample}
            for layer in facts.layers
        ],
        "dense_saved_bytes": facts.dense_bytes(batch),
        "kept_bytes": step_bytes(facts, form, batch, ratios),
        "predicted_peak_bytes": peak.bytes,
        "peak_layer": peak.moment.layer if peak.moment is not None else "",
        "least_budget_bytes": Work(facts, form, batch).least.bytes,
        "operators": dict(Counter(node.op_type for node in graph.node).most_common()),
    }
    emit(result, _text(result), options.json)
    return 0


def _text(result: dict[str, object]) -> str:
    layers = result["layers"]
    assert isinstance(layers, list)
    width = max((len(layer["name"]) for layer in layers), default=0)
    rows = [f"  {i['name']:<{width}}  {i['kind']:<9}  {i['elements_per_sample']:>10}" for i in layers]
    sizes = {name: format_bytes(int(str(result[f"{name}"]))) for name in _SIZES}
    return "\n".join(
        [
            f"{result['model']}, {_method(result)}, {result['target']}, batch {result['batch']}",
            f"numbers for {result['setting']}: {_numbers(result)}",
            "layers, kind, elements a sample:",
            *rows,
            f"saved without pruning: {sizes['dense_saved_bytes']}",
            f"saved at ratio {result['prune_ratio']}: {sizes['kept_bytes']}",
            f"predicted peak of the step: {sizes['predicted_peak_bytes']} (at {result['peak_layer']})",
            f"least budget of the step: {sizes['least_budget_bytes']}",
        ]
    )


def _numbers(result: dict[str, object]) -> str:
    numbers = result["numbers"]
    assert isinstance(numbers, dict)
    return ", ".join([f"optimizer {result['optimizer']}", *(f"{name} {value:g}" for name, value in numbers.items())])


_SIZES = ("dense_saved_bytes", "kept_bytes", "predicted_peak_bytes", "least_budget_bytes")


def _method(result: dict[str, object]) -> str:
    chosen = result["choices"]
    assert isinstance(chosen, dict)
    options = [f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}") for name, value in chosen.items()]
    return " ".join([str(result["method"]), *options])
