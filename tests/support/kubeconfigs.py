"""Kubeconfigs in unusual spellings, and how kubectl and Spotalis read them.

The unit tests check the column of Spotalis, tests/integration/test_kubeconfigs_of_kubectl.py both.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

CA = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" * 3
DATA = base64.b64encode(CA).decode()
TWICE = base64.b64encode(DATA.encode()).decode()
SERVER = "https://10.1.2.3:6443"
_TEMPLATE = """\
current-context: prod
clusters:
- name: prod
  cluster:
    server: {server}
    tls-server-name: kubernetes
users:
- name: prod
  user: {{token: t}}
contexts:
- name: prod
  context: {{cluster: prod, user: prod}}
"""
TEXT = _TEMPLATE.format(server=SERVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a client takes from a kubeconfig."""

    server: str = SERVER
    ca: bytes = b""
    verify: bool = True
    headers: tuple[tuple[str, str], ...] = (("Authorization", "Bearer t"),)


@dataclass(frozen=True, slots=True)
class Case:
    """A kubeconfig; None: the client rejects it."""

    name: str
    text: str | bytes
    kubectl: Reading | None
    spotalis: Reading | None = field(default=None)

    def bytes(self) -> bytes:
        """The content of the file."""
        return self.text if isinstance(self.text, bytes) else self.text.encode()


def _same(name: str, text: str | bytes, reading: Reading | None) -> Case:
    return Case(name, text, reading, reading)


def _cluster(lines: str) -> str:
    return TEXT.replace("    tls-server-name", f"    {lines}\n    tls-server-name")


def _user(fields: str) -> str:
    return TEXT.replace("token: t", fields)


def _token(text: str) -> str:
    return _user(f"token: {text}")


def _namespace(text: str) -> str:
    return TEXT.replace("user: prod}", f"user: prod, namespace: {text}}}")


def _beside(kind: str, entry: str) -> str:
    return TEXT.replace(f"{kind}:\n", f"{kind}:\n- {entry}\n")


def _as_token(token: str, *others: tuple[str, str]) -> Reading:
    return Reading(headers=(("Authorization", f"Bearer {token}"), *others))


PLAIN = Reading()
WITH_CA = Reading(ca=CA)
WITHOUT_VERIFICATION = Reading(verify=False)
_BLOCK = "\n".join(f"      {DATA[i : i + 40]}" for i in range(0, len(DATA), 40))
_BASE = _beside("users", "{name: base, user: &b {token: b, as: q}}")

SAME = (
    _same(
        "base64 in a block of lines", _cluster(f"certificate-authority-data: |\n{_BLOCK}"), WITH_CA
    ),
    _same(
        "base64 with CR and LF",
        _cluster(f'certificate-authority-data: "{DATA[:9]}\\r\\n{DATA[9:]}\\n"'),
        WITH_CA,
    ),
    _same(
        "base64 with a space",
        _cluster(f"certificate-authority-data: '{DATA[:9]} {DATA[9:]}'"),
        None,
    ),
    _same("binary base64", _cluster(f"certificate-authority-data: !!binary {TWICE}"), WITH_CA),
    _same("binary data", _cluster(f"certificate-authority-data: !!binary {DATA}"), None),
    _same("binary token", _token("!!binary dG9r"), _as_token("tok")),
    _same("binary that is not base64", _token("!!binary '%'"), None),
    _same("tagged text", _token("!!str 123"), _as_token("123")),
    _same("unknown tag of text", _token("!foo bar"), _as_token("bar")),
    _same("unknown tag of a mapping", TEXT.replace("user: {", "user: !foo {"), PLAIN),
    _same("set", TEXT.replace("user: {", "user: !!set {"), PLAIN),
    *(
        _same(f"text that YAML 1.1 interprets: {text}", _token(text), _as_token(text))
        for text in ("2024-05-01", "2024-13-45", "12:30", "1:20.5", "=", "0b_", "0x_", "190:20:30")
    ),
    *(
        _same(f"not text: {text}", _token(text), None)
        for text in ("123", "1e3", "089", "0o17", "0x1F", "1_000", ".5", ".inf", "y", "on", "false")
    ),
    _same("null token", _token("~"), Reading(headers=())),
    _same("date as a name", TEXT.replace("prod", "2024-05-01"), PLAIN),
    _same("dates that nothing reads", _namespace("2024-05-01"), PLAIN),
    _same("invalid date that nothing reads", _namespace("2024-13-45"), PLAIN),
    _same("null in a list", _beside("clusters", "null"), PLAIN),
    _same("cluster without a name", _beside("clusters", "cluster: {server: x}"), PLAIN),
    _same("user without a name", _beside("users", "user: {token: other}"), PLAIN),
    _same("context without a name", _beside("contexts", "context: {}"), PLAIN),
    _same("null name", _beside("users", "{name: null, user: null}"), PLAIN),
    _same(
        "plugin without a command", _beside("users", "{name: x, user: {exec: {args: []}}}"), PLAIN
    ),
    _same(
        "plugin with nulls",
        _beside(
            "users",
            "{name: x, user: {exec: {command: a, args: [null], env: [null, {name: ~, value: x}]}}}",
        ),
        PLAIN,
    ),
    _same("two users of one name", _beside("users", "{name: prod, user: {token: other}}"), None),
    _same(
        "nulls of a user",
        _user("token: t, exec: null, auth-provider: ~, as-groups: null, as-user-extra: {k: null}"),
        PLAIN,
    ),
    _same(
        "keys that are not text",
        _user("token: t, 7: x, as: a, as-user-extra: {1: [z], true: [q]}"),
        _as_token(
            "t",
            ("Impersonate-Extra-1", "z"),
            ("Impersonate-Extra-true", "q"),
            ("Impersonate-User", "a"),
        ),
    ),
    _same("null as a key", _user("token: t, ~: x"), None),
    _same("list as a key", _user("token: t, [a]: x"), None),
    _same("second document", f"{TEXT}---\na: b\n", PLAIN),
    _same("second document that is not YAML", f"{TEXT}---\na: [\n", PLAIN),
    _same(
        "merge in front",
        _BASE.replace("token: t", "<<: *b, token: t"),
        _as_token("t", ("Impersonate-User", "q")),
    ),
    _same(
        "merge behind",
        _BASE.replace("token: t", "token: t, <<: *b"),
        _as_token("b", ("Impersonate-User", "q")),
    ),
    _same("merge of text", _user("token: t, <<: x"), None),
    _same("byte order mark", f"\ufeff{TEXT}", PLAIN),
    _same("UTF-16", TEXT.encode("utf-16"), PLAIN),
    _same("Latin-1", TEXT.replace("token: t", "token: té").encode("latin-1"), None),
    _same("CR LF as line ends", TEXT.replace("\n", "\r\n"), PLAIN),
    _same("y as a boolean", _cluster("insecure-skip-tls-verify: y"), WITHOUT_VERIFICATION),
    _same("text as a boolean", _cluster("insecure-skip-tls-verify: 'true'"), None),
)
"""Read in the same way."""

DIFFERENT = (
    Case("duplicate key", _user("token: t, token: u"), _as_token("u"), None),
    Case(
        "list of numbers as data",
        _cluster("certificate-authority-data: [67, 65]"),
        Reading(ca=b"CA"),
        None,
    ),
    Case("two users without a name", _beside("users", "user: {}\n- user: {}"), None, PLAIN),
    _same("number as namespace", _namespace("123"), None),
    Case("other kind", f"apiVersion: v1\nkind: Secret\n{TEXT}", None, PLAIN),
    Case("YAML 1.2 directive", f"%YAML 1.2\n---\n{TEXT}", None, PLAIN),
    Case(
        "invalid base64 of a user that is not used",
        _beside("users", "{name: x, user: {client-key-data: '%'}}"),
        None,
        PLAIN,
    ),
)
"""Read differently; docs/reference/kubeconfig.md names the reasons."""
