"""Remove credentials from everything that is written and printed. The computation keeps them.
Credentials are user and password in an address, values with a telling name (``api_key``,
``MY_TOKEN``, ``password``), and, in any text, the values of environment variables and arguments
with such names and the passwords in those that are addresses."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

PLACEHOLDER = "***redacted***"  # to repeat a run, give the value again
SHORTEST = 6  # characters of a secret that is searched in all text: a shorter one could be part of a word

ANYWHERE = {"apikey", "authorization", "credential", "credentials", "passphrase", "passwd", "password", "secret",
            "secrets"}  # fmt: skip
LAST = ANYWHERE | {"token"}
LAST_OF_SEVERAL = {"key", "pass", "pat", "pwd"}  # key alone is any key, PWD the folder

# Hydra writes \: for : in the overrides of a sweep's job. User and password end at the last @
# before the path. The password may have a slash, unless a port follows "user:".
ADDRESS = re.compile(r"""(?i)\b([a-z][a-z0-9+.-]*\\?://)([^/?#\s"'<>]*|[^/?#\s"'<>:@]+:(?!\d+[/?#])[^\s"'<>]*)@""")
ESCAPED = re.compile(r"([()\[\]{}:=, \t\\])")  # by Hydra
INTERPOLATION = re.compile(r"\$\{[^{},]*\}")  # without a default value
ASSIGNED = re.compile(r"""(?<![\w.@/-])([+~-]*[\w.@/-]+)(=)("[^"]*"|'[^']*'|[^\s&]+)""")
QUOTED = re.compile(r"""(["'])([\w.-]+)\1(\s*:\s*)("[^"]*"|'[^']*')""")


def redact(value: Any) -> Any:
    """``value`` without credentials: text, and mappings and sequences of any depth."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {k: hidden(v) if is_credential(str(k)) else redact(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(redact, value))
    return value


def hidden(value: Any) -> Any:
    """A placeholder for the value of a credential. Short numbers stay: they count something."""
    if isinstance(value, str):
        return PLACEHOLDER if value and not INTERPOLATION.fullmatch(value) else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return PLACEHOLDER if len(str(value)) >= SHORTEST else value
    if isinstance(value, Mapping):
        return {k: hidden(v) for k, v in value.items()}
    return [hidden(v) for v in value] if isinstance(value, list | tuple) else value


def redact_text(text: str) -> str:
    """``text`` without credentials. In ``key=value`` the key stays."""
    whole = re.fullmatch(r"([+~-]*[\w.@/-]+)=(.+)", text, re.DOTALL)
    if whole and is_credential(whole[1]):
        return f"{whole[1]}={of_override(whole[2])}"
    text = ADDRESS.sub(r"\1***@", text)
    text = ASSIGNED.sub(lambda m: f"{m[1]}={of_override(m[3])}" if is_credential(m[1]) else m[0], text)
    quoted = rf"\1\2\1\3\1{PLACEHOLDER}\1"
    text = QUOTED.sub(lambda m: m.expand(quoted) if is_credential(m[2]) else m[0], text)
    for secret in known_secrets():
        text = text.replace(secret, PLACEHOLDER)
    return text


def of_override(value: str) -> str:
    """A placeholder for each value of a sweep."""
    if INTERPOLATION.fullmatch(value):
        return value
    return ",".join([PLACEHOLDER] * (1 if value[0] in "\"'[{($" else value.count(",") + 1))


def is_credential(name: str) -> bool:
    """Whether the last part of a dotted key has a word that means a secret."""
    last = re.split(r"[./@]", name)[-1]
    words = [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Za-z][a-z]*", last)] or [""]
    return bool(ANYWHERE & set(words)) or words[-1] in LAST or (len(words) > 1 and words[-1] in LAST_OF_SEVERAL)


def known_secrets() -> Sequence[str]:
    """The secrets in environment variables and the command's arguments, longest first."""
    return secrets_in((*os.environ.items(), *(a.partition("=")[::2] for a in sys.argv)))


@functools.lru_cache(4)
def secrets_in(named: tuple[tuple[str, str], ...]) -> Sequence[str]:
    found: set[str] = set()
    for name, value in named:
        for secret in [value, *value.split(",")] if is_credential(name) else ():
            found |= {secret, quote(secret, safe=""), ESCAPED.sub(r"\\\1", secret)}
        for match in ADDRESS.finditer(value):
            secret = match[2].split(":", 1)[-1]  # the password, or a user without one
            found |= {secret, unquote(secret)}
    return sorted((s for s in found if len(s) >= SHORTEST), key=lambda s: (-len(s), s))
