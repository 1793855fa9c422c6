"""From videos to TFRecords to tf.data."""

import os

# TensorFlow 2.21's oneDNN convolutions write past their buffers for narrow layers (8 channels; the process
# dies with "free(): invalid next size" on CPUs with AVX-512). It must be off before TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
