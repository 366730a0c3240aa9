"""`streamgauge state`: looks into a pipeline's state, and saves, restores or resets it.

`list` and `show` only read, also while workers run; so does `export`. `import` and `reset` refuse while they do.
"""

from consumer.entrypoints.state.exporting import export_state
from consumer.entrypoints.state.handing_over import hand_over
from consumer.entrypoints.state.importing import import_state
from consumer.entrypoints.state.listing import list_states
from consumer.entrypoints.state.resetting import reset
from consumer.entrypoints.state.showing import show
from consumer.entrypoints.state.site import Site, open_site

__all__ = ["Site", "export_state", "hand_over", "import_state", "list_states", "open_site", "reset", "show"]
