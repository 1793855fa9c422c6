"""Training and exporting in the tests' own process, which has TensorFlow loaded."""

from functools import partial

import tfgma.export
import tfgma.training

train = partial(tfgma.training.train, isolated=False)
export = partial(tfgma.export.export, isolated=False)
