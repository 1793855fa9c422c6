"""From videos to TFRecords to tf.data."""
