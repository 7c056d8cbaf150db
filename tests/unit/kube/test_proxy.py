from __future__ import annotations

import pytest

from spotalis.kube.config.proxy import proxy_for

PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("server", "environment", "proxy"),
    [
        ("https://k8s:6443", {}, ""),
        ("https://k8s:6443", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://k8s:6443", {"https_proxy": PROXY}, PROXY),
        ("https://k8s:6443", {"HTTP_PROXY": PROXY}, ""),
        ("http://k8s:8080", {"HTTP_PROXY": PROXY}, PROXY),
        ("https://k8s:6443", {"HTTPS_PROXY": "proxy:3128"}, PROXY),
        ("https://localhost:6443", {"HTTPS_PROXY": PROXY}, ""),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": PROXY}, ""),
        ("https://[::1]:6443", {"HTTPS_PROXY": PROXY}, ""),
    ],
)
def test_the_proxy_is_the_one_for_the_scheme(
    server: str, environment: dict[str, str], proxy: str
) -> None:
    assert proxy_for(server, environment) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "server", "goes_direct"),
    [
        ("*", "https://k8s.corp.com", True),
        ("corp.com", "https://corp.com", True),
        ("corp.com", "https://k8s.corp.com", True),
        ("corp.com", "https://notcorp.com", False),
        (".corp.com", "https://k8s.corp.com", True),
        (".corp.com", "https://corp.com", False),
        ("*.corp.com", "https://k8s.corp.com", True),
        ("CORP.com", "https://k8s.corp.com", True),
        ("a.com, corp.com ,b.com", "https://k8s.corp.com", True),
        ("corp.com:6443", "https://k8s.corp.com:6443", True),
        ("corp.com:6443", "https://k8s.corp.com", False),
        ("corp.com:443", "https://k8s.corp.com", True),
        ("10.1.2.3", "https://10.1.2.3:6443", True),
        ("10.0.0.0/8", "https://10.1.2.3:6443", True),
        ("10.0.0.0/8", "https://11.1.2.3:6443", False),
        ("10.0.0.0/8", "https://k8s.corp.com", False),
        ("10.0.0.0/nonsense", "https://10.1.2.3", False),
        ("fd00::/8", "https://[fd00::1]:6443", True),
        ("fd00::1", "https://[fd00::1]:6443", True),
        ("", "https://k8s.corp.com", False),
        (",", "https://k8s.corp.com", False),
    ],
)
def test_no_proxy_names_domains_and_networks(no_proxy: str, server: str, goes_direct: bool) -> None:
    environment = {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}
    assert proxy_for(server, environment) == ("" if goes_direct else PROXY)
