"""Networks in keras.layers and keras.ops, on any Keras backend, one file a family."""
