"""Train a CIFAR ResNet on CIFAR-10 and write its weights, float32, as safetensors.

    python benchmarks/train_cifar_resnet.py DATA/cifar10.npz OUT.safetensors [--model resnet20] [--epochs 25] [--seed 0]

SGD with Nesterov momentum under a one-cycle learning rate (Smith & Topin 2017), random crops of the image padded by
four pixels, random flips. The forward pass runs in bfloat16 where autocast allows it; the weights and the final test
are float32. The last epoch's weights are kept: the test set picks no epoch.

The shipped ResNet-20 had two cycles: the defaults, then
`--start FIRST.safetensors --epochs 12 --learning-rate 0.1 --seed 1`.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from toolchain.models import cifar_resnet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODELS = {"resnet20": cifar_resnet.resnet20, "resnet56": cifar_resnet.resnet56}
PADDING = 4


def read_part(path: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images normalised, float32 [M, 3, 32, 32], and labels int64 [M]."""
    with np.load(path) as file:
        pixels, labels = torch.from_numpy(file[f"x_{part}"]), torch.from_numpy(file[f"y_{part}"])
    images = (pixels.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last), labels.long()


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop [N, 3, 32, 32] at a random offset after padding, and flip half of the images."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (PADDING,) * 4)
    top, left = torch.randint(0, 2 * PADDING + 1, (2, count, 1, 1), generator=generator)
    columns = torch.arange(width).expand(count, 1, width)
    flipped = torch.rand(count, 1, 1, generator=generator) < 0.5
    columns = torch.where(flipped, columns.flip(2), columns) + left
    rows = torch.arange(height).view(1, height, 1) + top
    crops = padded[torch.arange(count).view(count, 1, 1), :, rows, columns]
    return crops.permute(0, 3, 1, 2)


@torch.no_grad()
def test_error(model: nn.Module, images: Tensor, labels: Tensor, bfloat16: bool = False) -> float:
    """Share of wrong predictions in evaluation mode, percent."""
    model.eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        predictions = torch.cat([model(part).argmax(1) for part in torch.split(images, 500)])
    return 100 * (predictions != labels).double().mean().item()


class Training:
    """A model, its optimizer and its learning-rate schedule."""

    def __init__(self, model: nn.Module, arguments: argparse.Namespace, images: int) -> None:
        self.model, self.batch = model, arguments.batch
        self.generator = torch.Generator().manual_seed(arguments.seed)
        rate = arguments.learning_rate
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=arguments.weight_decay
        )
        steps = arguments.epochs * (images // self.batch)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, total_steps=steps, pct_start=0.2, cycle_momentum=False
        )

    def epoch(self, images: Tensor, labels: Tensor) -> float:
        """One pass over whole batches in random order; the mean loss."""
        self.model.train()
        whole = len(images) // self.batch * self.batch
        parts = torch.split(torch.randperm(len(images), generator=self.generator)[:whole], self.batch)
        return sum(self.step(augment(images[part], self.generator), labels[part]) for part in parts) / len(parts)

    def step(self, images: Tensor, labels: Tensor) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(images.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.schedule.step()
        return loss.item()


def train(arguments: argparse.Namespace) -> nn.Module:
    """The trained model, one line of progress an epoch on stderr."""
    torch.manual_seed(arguments.seed)
    model = MODELS[arguments.model]().to(memory_format=torch.channels_last)
    if arguments.start:
        model.load_state_dict(load_file(arguments.start))
    (images, labels), test = read_part(arguments.data, "train"), read_part(arguments.data, "test")
    training, start = Training(model, arguments, len(images)), time.perf_counter()
    for epoch in range(1, arguments.epochs + 1):
        loss = training.epoch(images, labels)
        error, seconds = test_error(model, *test, bfloat16=True), time.perf_counter() - start
        print(f"epoch {epoch} loss {loss:.4f} test error {error:.2f} % after {seconds:.0f} s", file=sys.stderr)
    print(f"final test error in float32 {test_error(model, *test):.2f} %", file=sys.stderr)
    return model


def save(model: nn.Module, path: Path) -> None:
    """Parameters and running statistics; the batch counters that BatchNorm never reads are left out."""
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor for name, tensor in state.items() if tensor.is_floating_point()}, path)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="cifar10.npz, from obtain_cifar10.py")
    parser.add_argument("out", type=Path, help="the safetensors file to write")
    parser.add_argument("--model", choices=MODELS, default="resnet20")
    parser.add_argument("--start", type=Path, help="safetensors weights to go on from, instead of random ones")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.2, help="the highest of the cycle")
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    save(train(arguments), arguments.out)


if __name__ == "__main__":
    main()
