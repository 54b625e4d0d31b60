"""Run by the Python of .venv/tensorrt: the driver's own parsing and building, on the parser and builder of TensorRT for
RTX, which need no GPU. It is a relative of the TensorRT on boards, and takes operators that their 8.5 does not.

    python -m tests.tensorrt.real_parser MODEL.onnx MAX_BATCH     prints what became of it, as JSON
"""

import json
import sys
from pathlib import Path
from typing import Any

import tensorrt_rtx

sys.modules["tensorrt"] = tensorrt_rtx

from toolchain.driver.engine import session_tensorrt  # noqa: E402
from toolchain.errors import EngineError  # noqa: E402


def examine(model: bytes, max_batch: int) -> dict[str, Any]:
    """Which of the initializers can be refitted, and how large the engine is; or the parser's error."""
    result: dict[str, Any] = {"version": session_tensorrt.VERSION}
    try:
        return {**result, "refittable": _refittable(model), "plan_bytes": len(_plan(model, max_batch))}
    except EngineError as error:
        return {**result, "error": str(error)}


def _refittable(model: bytes) -> list[str]:
    builder = tensorrt_rtx.Builder(session_tensorrt._LOG)
    network = builder.create_network(0)
    session_tensorrt._parse(network, model)
    names = json.loads(sys.stdin.read())
    return [name for name in names if network.mark_weights_refittable(name)]


def _plan(model: bytes, max_batch: int) -> bytes:
    """Without the flag REFIT: this builder wants a GPU for it."""
    builder = tensorrt_rtx.Builder(session_tensorrt._LOG)
    network = builder.create_network(0)
    session_tensorrt._parse(network, model)
    config = builder.create_builder_config()
    config.add_optimization_profile(session_tensorrt._profile(builder, network, max_batch))
    session_tensorrt._use_timings(config, b"")
    plan = builder.build_serialized_network(network, config)
    bytes(config.get_timing_cache().serialize())
    if plan is None:
        raise session_tensorrt._failure("the engine could not be built")
    return bytes(plan)


if __name__ == "__main__":
    print(json.dumps(examine(Path(sys.argv[1]).read_bytes(), int(sys.argv[2]))))
