"""What finds bodies and flow in a build, by its settings; Keras is loaded only where they name a network."""

from pipelines.config import BuildConfig
from pipelines.tools import MakeTools, standard_tools


def chosen_tools(config: BuildConfig) -> MakeTools:
    """For `pipelines.build.build_dataset`; networks' weights are read once, before hours of work.

    Raises:
        RefusedError: weights that cannot be read, or of another network.
    """
    if not config.network_sections:
        return standard_tools
    from tfgma.preprocessing import make_tools, refuse_unusable_weights

    refuse_unusable_weights(config)
    return make_tools
