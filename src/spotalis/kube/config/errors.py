"""Errors in the configuration of the cluster connection, with their codes."""

from __future__ import annotations


class ConfigError(Exception):
    """The cluster cannot be reached as configured: what is wrong, the details, and a fix."""

    def __init__(self, code: str, what: str, lines: tuple[str, ...] = (), fix: str = "") -> None:
        super().__init__(what)
        self.code = code
        """A stable code such as ``SP001``."""
        self.what = what
        self.lines = lines
        """Details, such as the places that were searched."""
        self.fix = fix


NO_CLUSTER = "SP001"
BAD_KUBECONFIG = "SP004"
NO_SUCH_ENTRY = "SP005"
NO_CREDENTIALS = "SP006"
BAD_TLS = "SP007"
