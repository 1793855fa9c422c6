"""Generated videos of lying infants whose movement, body and background are known."""

from pipelines.synthetic.generate import Recording, generate
from pipelines.synthetic.settings import SyntheticSettings

__all__ = ["Recording", "SyntheticSettings", "generate"]
