"""tfgma has not become slower beside what people use: ratios of `tfgma benchmark`, with slack.

Run with `make test-long`, in the environment that has PyTorch; nothing else may run.
"""

import pytest

from tfgma.speed.input import measure_input
from tfgma.speed.preprocess import measure_preprocess
from tfgma.speed.train import measure_train

pytestmark = [pytest.mark.long, pytest.mark.backends]

SIZE = {"subjects": 4, "seconds": 60.0, "rounds": 3, "workers": 2}


def told(done, total, text):
    """Nobody is told."""


def expect(found, **least):
    print()
    for name in least:
        print(f"{name}: {found['ratios'][name]:.2f} x (at least {least[name]:g} x)")
    assert {name: found["ratios"][name] for name in least if found["ratios"][name] < least[name]} == {}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return tmp_path_factory.mktemp("speed")


def test_a_build_is_as_many_times_faster_than_the_published_route(videos):
    found = measure_preprocess(videos, reference_seconds=2.0, **SIZE, tell=told)
    expect(found, preprocess_vs_reference=100, preprocess_realtime=5.5)


def test_batches_are_as_many_times_faster_than_those_of_png_files(videos):
    found = measure_input(videos, **SIZE, tell=told)
    expect(found, input_vs_png=7.5, input_vs_png_uncached=1.6)


def test_a_training_step_is_as_fast_as_pytorchs():
    found = measure_train(backend="tensorflow", rounds=5, threads=2, compiled=False, tell=told)
    expect(found, train_vs_torch_eager=0.95)
