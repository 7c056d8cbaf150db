"""Keep a store equal to one collection of the API server, as client-go's reflectors do."""

from spotalis.kube.watch.failures import WatchProblem, WatchReport
from spotalis.kube.watch.reflector import WatchOptions, reflect, watch_object
from spotalis.kube.watch.updater import Relist

__all__ = ["Relist", "WatchOptions", "WatchProblem", "WatchReport", "reflect", "watch_object"]
