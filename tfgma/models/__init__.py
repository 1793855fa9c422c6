"""Networks in keras.layers and keras.ops, on any Keras backend, one file a family.

Importing this package registers its layers with Keras, so that `keras.saving.load_model` knows them.
"""

from tfgma.models.catalogue import NETWORKS
from tfgma.models.families import FAMILIES

__all__ = ["FAMILIES", "NETWORKS"]
