"""From videos to TFRecords to tf.data."""

import os

# With TensorFlow 2.21's oneDNN kernels on, training a network of 8 channels died of heap corruption ("free():
# invalid next size") on a CPU with AVX-512; with them off it did not. The fault itself was not traced. It
# must be off before TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
