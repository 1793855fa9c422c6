"""The published two-stream network and its training step, as PyTorch users write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipelines.optional import load

BLOCKS = (3, 4, 6, 3)


def training_step(
    batch: int,
    size: int,
    channels: int,
    classes: int,
    *,
    compiled: bool,
    threads: int,
    bfloat16: bool,
) -> Callable[[], Any]:
    """A function that does one step of two ResNet-50, joined by a 1x1 convolution, on made clips.

    Channels last, which is the faster layout of PyTorch's convolutions on processors, and AdamW in one call
    for all weights.

    Args:
        batch: clips.
        size: px a side.
        channels: of the flow.
        classes: of the answer.
        compiled: by torch.compile.
        threads: of PyTorch.
        bfloat16: by torch.autocast, which leaves the weights in float32.

    Raises:
        RefusedError: PyTorch is not installed.
    """
    torch = load("torch", "torch")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = _network(torch.nn, torch, channels, classes).to(memory_format=torch.channels_last)
    network.train()
    image = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    flow = torch.rand(batch, channels, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % classes
    optimizer = torch.optim.AdamW(network.parameters(), 1e-5, weight_decay=1e-4, amsgrad=True, fused=True)

    def loss_of(image: Any, flow: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = network(image, flow)
        return torch.nn.functional.cross_entropy(logits.float(), labels)

    forward = torch.compile(loss_of) if compiled else loss_of

    def step() -> float:
        optimizer.zero_grad()
        loss = forward(image, flow)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _network(nn: Any, torch: Any, channels: int, classes: int) -> Any:
    class Bottleneck(nn.Module):
        def __init__(self, width: int, filters: int, stride: int) -> None:
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(width, filters, 1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
                nn.Conv2d(filters, filters, 3, stride, 1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
                nn.Conv2d(filters, 4 * filters, 1, bias=False),
                nn.BatchNorm2d(4 * filters),
            )
            self.shortcut = nn.Identity()
            if stride > 1 or width != 4 * filters:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(width, 4 * filters, 1, stride, bias=False), nn.BatchNorm2d(4 * filters)
                )

        def forward(self, x: Any) -> Any:
            return torch.relu(self.main(x) + self.shortcut(x))

    def trunk(channels: int) -> Any:
        blocks, width = [], 64
        for stage, count in enumerate(BLOCKS):
            filters = 64 * 2**stage
            for number in range(count):
                blocks.append(Bottleneck(width, filters, 2 if number == 0 and stage else 1))
                width = 4 * filters
        return nn.Sequential(
            nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            *blocks,
        )

    class TwoStream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spatial, self.temporal = trunk(3), trunk(channels)
            self.fuse, self.head = nn.Conv2d(4096, 2048, 1), nn.Linear(2048, classes)

        def forward(self, image: Any, flow: Any) -> Any:
            joined = self.fuse(torch.cat([self.spatial(image), self.temporal(flow)], 1))
            return self.head(joined.mean((2, 3)))

    return TwoStream()
