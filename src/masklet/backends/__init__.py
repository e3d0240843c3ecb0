"""How a network's verbs are computed: the same numbers except for rounding, in less time."""

from masklet.backends.backend import Backend, Explanation, Network, TorchBackend, Verb, summarize
from masklet.backends.choice import ENGINES, EngineName, Setting, check_options, choose, fit

__all__ = [
    "ENGINES",
    "Backend",
    "EngineName",
    "Explanation",
    "Network",
    "Setting",
    "TorchBackend",
    "Verb",
    "check_options",
    "choose",
    "fit",
    "summarize",
]
