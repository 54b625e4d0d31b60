"""The information that EATA's anchor weighs with."""

import torch
from torch import nn

from toolchain.stages.constants import fisher_information


def test_mean_over_batches_of_squared_gradients() -> None:
    """70 images are a batch of 64 and one of 6, of which both count alike."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)]
    model, images = nn.Sequential(*layers).eval(), torch.randn(70, 3, 8, 8)
    found = fisher_information(model, ["1.weight", "4.bias"], images.numpy())
    expected = {name: torch.zeros_like(model.get_parameter(name)) for name in found}
    model.train()
    for batch in (images[:64], images[64:]):
        model.zero_grad()
        logits = model(batch)
        nn.functional.nll_loss(logits.log_softmax(1), logits.argmax(1)).backward()
        for name, square in expected.items():
            gradient = model.get_parameter(name).grad
            assert gradient is not None
            square += gradient**2 / 2
    for name, square in expected.items():
        torch.testing.assert_close(torch.from_numpy(found[name]), square)
