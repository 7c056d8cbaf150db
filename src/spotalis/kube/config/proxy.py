"""The proxy of a server, from the environment variables that kubectl and curl use."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit


def proxy_for(server: str, environment: Mapping[str, str]) -> str:
    """The URL of the proxy; ``""`` for loopback and for hosts in ``NO_PROXY``."""
    url = urlsplit(server)
    host = (url.hostname or "").rstrip(".")
    name = f"{url.scheme}_proxy"
    proxy = environment.get(name.upper()) or environment.get(name) or ""
    if not proxy or host == "localhost" or _is_loopback(host):
        return ""
    exceptions = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    if any(_covers(entry.strip().lower(), host, port) for entry in exceptions.split(",")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether a NO_PROXY entry covers the host: a domain with its subdomains, or addresses."""
    if not entry:
        return False
    if entry == "*":
        return True
    if "/" in entry:
        return _is_within(host, entry)
    if entry.count(":") == 1:
        entry, _, wanted_port = entry.partition(":")
        if wanted_port != str(port):
            return False
    domain = entry.removeprefix("*")
    if domain.startswith("."):
        return host.endswith(domain)
    return host == domain.strip("[]") or host.endswith(f".{domain}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_within(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
