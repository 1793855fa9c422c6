"""From videos to TFRecords to tf.data."""

import os

# With TensorFlow 2.21's oneDNN kernels on, the filter gradient of a strided 1x1 convolution with fewer than
# 16 input channels writes past its scratch memory on a CPU with AVX-512, and training dies of heap corruption
# ("free(): invalid next size"). They must be off before TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
