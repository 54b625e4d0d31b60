"""What the host says to input that it cannot use: a message, an exit code, nothing half-written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from toolchain.cli.main import main


class Inverted(nn.Module):
    """Uses an operator that the engine cannot differentiate, deep in a module with a name."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.head = Rounded()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))  # type: ignore[no-any-return]


class Determined(nn.Module):
    """Uses an operator that no TensorRT parses."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 2, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(self.body(images)[:, :, :4, :4])  # type: ignore[no-any-return]


class Rounded(nn.Module):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.fmod(maps, 0.7).mean((2, 3))


def inverted() -> nn.Module:
    return Inverted()


def without_layers() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten())


def not_a_module() -> str:
    return "a string"


def _refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and message of a build that must leave nothing behind."""
    output = tmp_path / "out" / "bundle"
    code = main(["build", "-o", str(output), "--json", *arguments])
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert not output.exists() and not list(tmp_path.glob("out/.*")), "something half-written is left"
    assert "Traceback" not in message
    return code, message


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "resnet5000", "--target", "host"], 2, ["resnet5000", "toolchain models"]),
        (["--model", "cifar_resnet20", "--target", "toaster"], 2, ["toaster", "xavier-nx"]),
        (["--model", "cifar_resnet20", "--target", "host", "--method", "magic"], 2, ["magic", "surgeon"]),
        (["--model", "no.such.module:factory", "--target", "host"], 2, ["no.such.module"]),
        (["--model", "timm:nothing_like_it", "--target", "host"], 2, ["timm"]),
        (["--model", "cifar_resnet20", "--target", "host", "--weights", "absent.pt"], 1, ["absent.pt"]),
        (["--model", "cifar_resnet20", "--target", "host", "--batch", "0"], 2, ["--batch"]),
        (["--model", "cifar_resnet20", "--target", "host", "--stop-after", "lunch"], 2, ["lunch", "lower"]),
        (["--model", "cifar_resnet20", "--target", "host", "--memory-budget", "1KiB"], 2, ["KiB"]),
        (["--model", f"{__name__}:Determined", "--target", "xavier-nx", "--image-size", "8"], 1, ["8.5.2", "Det"]),
        (["--model", "cifar_resnet20", "--target", "jetson-nano", "--batch", "99999"], 1, ["4 GiB", "--batch"]),
        (["--model", f"{__name__}:not_a_module", "--target", "host"], 2, ["str", "torch.nn.Module"]),
        (["--model", f"{__name__}:without_layers", "--target", "host"], 1, ["surgeon", "trains"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_refused_in_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    found, message = _refused(capsys, tmp_path, *arguments)
    assert found == code, message
    assert all(word in message for word in words), message


def test_operator_without_gradient_names_its_module(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ("--model", f"{__name__}:inverted", "--target", "host", "--image-size", "16")
    code, message = _refused(capsys, tmp_path, *arguments)
    assert code == 1
    assert "Mod" in message and "head" in message and "Rounded" in message, message


def test_weights_that_do_not_fit_are_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(3, 3), "surplus": torch.zeros(1)}, tmp_path / "weights.safetensors")
    weights = str(tmp_path / "weights.safetensors")
    code, message = _refused(capsys, tmp_path, "--model", "cifar_resnet20", "--target", "host", "--weights", weights)
    assert code == 1
    assert all(word in message for word in ("conv1.weight", "surplus", "missing")), message


def test_a_file_that_is_no_checkpoint_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"not a checkpoint")
    weights = str(tmp_path / "weights.pt")
    code, message = _refused(capsys, tmp_path, "--model", "cifar_resnet20", "--target", "host", "--weights", weights)
    assert code == 1 and "weights.pt" in message


def test_a_folder_that_is_no_bundle_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    code = main(["build", "--model", "cifar_resnet20", "--target", "host", "-o", str(tmp_path)])
    assert code == 2 and "not a bundle" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_file_in_the_way_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    code = main(["build", "--model", "cifar_resnet20", "--target", "host", "-o", str(tmp_path / "thesis.txt")])
    assert code == 2 and "not a bundle" in capsys.readouterr().err


def test_verify_refuses_what_is_no_bundle(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["verify", str(tmp_path)]) == 1
    assert "not a bundle" in capsys.readouterr().err


def test_stop_after_writes_the_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "stage"
    arguments = ["build", "--model", "cifar_resnet20", "--target", "host", "-o", str(output), "--stop-after", "rewrite"]
    assert main([*arguments, "--json"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0, "a second time, over what the first wrote"
    assert [stage["name"] for stage in json.loads(capsys.readouterr().out)["stages"]][-1] == "rewrite"
    assert [path.name for path in output.iterdir()] == ["training.onnx"]


def test_the_folder_of_another_program_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    (tmp_path / "my_own.onnx").write_text("a model")
    assert main(["build", "--model", "cifar_resnet20", "--target", "host", "-o", str(tmp_path)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "my_own.onnx"]


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.body(images)
        return logits, logits


def failing() -> nn.Module:
    raise ValueError("no data set here")


@pytest.mark.parametrize(
    ("factory", "words"), [("Pair", ["2 tensors", "logits"]), ("failing", ["no data set here"]), ("SAMPLE", ["SAMPLE"])]
)
def test_factories_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, factory: str, words: list[str]
) -> None:
    arguments = ("--model", f"{__name__}:{factory}", "--target", "host", "--image-size", "8")
    code, message = _refused(capsys, tmp_path, *arguments)
    assert code in (1, 2) and all(word in message for word in words), message
