"""ort.h beside the runtime's own header, which `make debian` fetches, or ONNXRUNTIME_HEADER names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphs.kernels.build import SOURCES

HERE = Path(__file__).parent
FETCHED = HERE.parents[1] / "build/debian/usr/include/onnxruntime/onnxruntime_c_api.h"
HEADER = Path(os.environ.get("ONNXRUNTIME_HEADER", FETCHED))
ORT = (SOURCES / "ort.h").read_text()

ELEMENT = "ONNX_TENSOR_ELEMENT_DATA_TYPE_"
CONSTANTS = {
    "ORT_FAIL": "ORT_FAIL",
    "ORT_WARNING": "ORT_LOGGING_LEVEL_WARNING",
    "ORT_ANY_TYPE": f"{ELEMENT}UNDEFINED",
    "ORT_FLOAT": f"{ELEMENT}FLOAT",
    "ORT_UINT8": f"{ELEMENT}UINT8",
    "ORT_INT64": f"{ELEMENT}INT64",
    "ORT_BOOL": f"{ELEMENT}BOOL",
    "ORT_FLOAT16": f"{ELEMENT}FLOAT16",
    "ORT_REQUIRED": "INPUT_OUTPUT_REQUIRED",
    "ORT_OPTIONAL": "INPUT_OUTPUT_OPTIONAL",
    "ORT_DEVICE_ALLOCATOR": "OrtDeviceAllocator",
    "ORT_DEFAULT_MEMORY": "OrtMemTypeDefault",
    "ORT_ATTRIBUTE_INT": "ORT_OP_ATTR_INT",
    "ORT_ATTRIBUTE_INTS": "ORT_OP_ATTR_INTS",
    "ORT_ATTRIBUTE_FLOAT": "ORT_OP_ATTR_FLOAT",
}


def members(ort: str) -> list[tuple[str, str]]:
    """Each structure's name and a member's, but for the gaps."""
    member = re.compile(r"^    (?!ORT_GAP)[\w ]+?[ *]+(?:\(\*)?(\w+)(?:;|\)\()", re.MULTILINE)
    return [(structure, name) for structure, body in structures(ort) for name in member.findall(body)]


def structures(ort: str) -> list[tuple[str, str]]:
    return re.findall(r"^struct (\w+) \{$(.*?)^\};$", ort, re.MULTILINE | re.DOTALL)


def compare(ort: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Have the compiler compare this text of ort.h."""
    (folder / "ort.h").write_text(ort)
    comparisons = [f"MEMBER({structure}, {name})" for structure, name in members(ort)]
    comparisons += [f"CONSTANT({ours}, {theirs})" for ours, theirs in CONSTANTS.items()]
    options = ["-std=c++17", f"-I{folder}", f"-I{HEADER.parent}", f"-DCOMPARISONS={' '.join(comparisons)}"]
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        *options,
        "-c",
        "-o",
        str(folder / "abi.o"),
        str(HERE / "abi.cpp"),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module", autouse=True)
def _header() -> None:
    if not HEADER.exists():
        pytest.skip("the runtime's header is not here: make debian")


def test_header_is_the_runtimes(tmp_path: Path) -> None:
    done = compare(ORT, tmp_path)
    assert done.returncode == 0, done.stderr


def test_nothing_is_left_out() -> None:
    bodies = "".join(body for _, body in structures(ORT))
    assert len(members(ORT)) == bodies.count(";") - bodies.count("ORT_GAP")
    assert set(CONSTANTS) == set(re.findall(r"\b(ORT_\w+) = ", ORT))


@pytest.mark.parametrize(
    ("ours", "altered", "reason"),
    [
        ("CreateCustomOpDomain)", "CustomOpDomain_Add)", "another place"),
        ("KernelComputeV2)", "InferOutputShapeFn)", "another place"),
        ("ORT_GAP(4, 25)", "ORT_GAP(4, 24)", "another place"),
        ("size_t count,\n", "int count,\n", "another signature"),
        ("ORT_FLOAT16 = 10", "ORT_FLOAT16 = 16", "another number"),
    ],
    ids=["swapped in OrtApi", "swapped in OrtCustomOp", "shifted", "narrower argument", "constant"],
)
def test_a_difference_is_noticed(ours: str, altered: str, reason: str, tmp_path: Path) -> None:
    swap = {ours: altered, altered: ours}
    text = re.sub("|".join(map(re.escape, swap)), lambda found: swap[found.group()], ORT)
    assert text != ORT
    assert reason in compare(text, tmp_path).stderr
