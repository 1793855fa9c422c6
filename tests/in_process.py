"""Training and exporting in the tests' own process, which has TensorFlow loaded."""

from functools import partial

import tfgma.exporting
import tfgma.training

train = partial(tfgma.training.train, isolated=False)
export = partial(tfgma.exporting.export, isolated=False)
