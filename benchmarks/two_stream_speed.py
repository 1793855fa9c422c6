"""Forward pass and training step of the ResNet-50 two-stream network: Keras against PyTorch, in turn.

Both run as long-lived processes that take turns, one measurement each, on the same machine: what disturbs
one disturbs the other. Weights are random; what counts is the ratio of the median times.

    make test-backends  # makes .venv-torch
    .venv/bin/python benchmarks/two_stream_speed.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

BATCH, SIDE, FLOW_CHANNELS, CLASSES, THREADS = 4, 224, 60, 3, 2
LEARNING_RATE, WEIGHT_DECAY = 1e-5, 1e-4


def keras_steps():
    """(forward, train): functions that do one step of the Keras network."""
    import keras
    import numpy as np

    from tfgma.models.two_stream import TwoStream

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.random((BATCH, SIDE, SIDE, 3), np.float32),
        "flow": rng.random((BATCH, SIDE, SIDE, FLOW_CHANNELS), np.float32),
    }
    labels = {"logits": np.arange(BATCH) % CLASSES}
    network = TwoStream(inputs["image"].shape[1:], inputs["flow"].shape[1:], CLASSES)
    network.compile(
        keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY, amsgrad=True),
        {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
    )
    return lambda: network.predict_on_batch(inputs), lambda: network.train_on_batch(inputs, labels)


def torch_steps():
    """(forward, train): functions that do one step of the same network in PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)

    class Bottleneck(nn.Module):
        def __init__(self, channels, filters, stride):
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(channels, filters, 1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
                nn.Conv2d(filters, filters, 3, stride, 1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
                nn.Conv2d(filters, 4 * filters, 1, bias=False),
                nn.BatchNorm2d(4 * filters),
            )
            self.shortcut = nn.Identity()
            if stride > 1 or channels != 4 * filters:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(channels, 4 * filters, 1, stride, bias=False), nn.BatchNorm2d(4 * filters)
                )

        def forward(self, x):
            return torch.relu(self.main(x) + self.shortcut(x))

    def trunk(channels):
        blocks, width = [], 64
        for stage, count in enumerate((3, 4, 6, 3)):
            for number in range(count):
                filters = 64 * 2**stage
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
        def __init__(self):
            super().__init__()
            self.spatial, self.temporal = trunk(3), trunk(FLOW_CHANNELS)
            self.fuse, self.head = nn.Conv2d(4096, 2048, 1), nn.Linear(2048, CLASSES)

        def forward(self, image, flow):
            joined = self.fuse(torch.cat([self.spatial(image), self.temporal(flow)], 1))
            return self.head(joined.mean((2, 3)))

    network = TwoStream()
    image = torch.rand(BATCH, 3, SIDE, SIDE)
    flow = torch.rand(BATCH, FLOW_CHANNELS, SIDE, SIDE)
    labels = torch.arange(BATCH) % CLASSES
    optimizer = torch.optim.AdamW(
        network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, amsgrad=True
    )

    def forward():
        network.eval()
        with torch.inference_mode():
            return network(image, flow)

    def train():
        network.train()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(image, flow), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return forward, train


def serve(framework: str) -> None:
    """Does one step for each line read, and answers with its seconds."""
    forward, train = keras_steps() if framework == "keras" else torch_steps()
    steps = {"forward": forward, "train": train}
    for line in sys.stdin:
        start = time.perf_counter()
        steps[line.strip()]()
        print(f"seconds {time.perf_counter() - start}", flush=True)


class Worker:
    """A process that answers with seconds."""

    def __init__(self, python: str, framework: str, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [python, __file__, "--serve", framework],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(THREADS)} | environment,
        )

    def ask(self, step: str) -> float:
        """Seconds of one step."""
        self.process.stdin.write(step + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("seconds "):
                return float(line.split()[1])
        raise RuntimeError(f"the process ended with {self.process.wait()}")


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--keras-python", default=sys.executable, help="interpreter with Keras and its backend"
    )
    parser.add_argument("--backend", default="tensorflow", help="Keras backend")
    parser.add_argument("--torch-python", default=".venv-torch/bin/python", help="interpreter with PyTorch")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": root, "KERAS_BACKEND": options.backend}
    workers = {
        "keras": Worker(options.keras_python, "keras", quiet),
        "torch": Worker(options.torch_python, "torch", quiet),
    }
    found = {"batch": BATCH, "side_px": SIDE, "flow_channels": FLOW_CHANNELS, "backend": options.backend}
    for step in ("forward", "train"):
        for worker in workers.values():
            for _ in range(2):  # the first steps trace and compile
                worker.ask(step)
        seconds = {name: [] for name in workers}
        for _ in range(options.rounds):
            for name, worker in workers.items():
                seconds[name].append(worker.ask(step))
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        found[step] = {
            **{f"{name}_median_seconds": round(value, 4) for name, value in medians.items()},
            **{f"{name}_least_seconds": round(min(values), 4) for name, values in seconds.items()},
            "ratio": round(medians["keras"] / medians["torch"], 3),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
