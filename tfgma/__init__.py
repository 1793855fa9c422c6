"""Movement assessment from videos: build data sets, train, evaluate, explain, export, predict.

The commands as functions; what they need is imported when they are called.
"""

from tfgma.api import build, evaluate, explain, export, predict, synthesize, train

__all__ = ["build", "evaluate", "explain", "export", "predict", "synthesize", "train"]
