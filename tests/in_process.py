"""Training in the tests' own process, which has TensorFlow loaded."""

from functools import partial

import tfgma.training

train = partial(tfgma.training.train, isolated=False)
