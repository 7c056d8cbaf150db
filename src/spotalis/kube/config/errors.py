"""The error of a user who has no way to a cluster yet."""

from __future__ import annotations


class ConfigError(Exception):
    """What is wrong with the way to the cluster, where that was found, and what to do."""

    def __init__(self, code: str, what: str, lines: tuple[str, ...] = (), fix: str = "") -> None:
        super().__init__(what)
        self.code = code
        """Stable: ``SP001`` and so on."""
        self.what = what
        self.lines = lines
        """What was looked at, and what was found there."""
        self.fix = fix


NO_CLUSTER = "SP001"
BAD_KUBECONFIG = "SP004"
NO_SUCH_ENTRY = "SP005"
NO_CREDENTIALS = "SP006"
BAD_TLS = "SP007"
