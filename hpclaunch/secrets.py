"""What a secret looks like: by its shape or its name, for all that is written or passed on.

A false alarm costs a user a line to read; a miss puts a password into a script, a record and the
process list of every node. Shapes are in `hpclaunch.secret_shapes`; under a telling name
(`--password`, `MY_TOKEN=`) any value that could be one counts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache

from hpclaunch.secret_shapes import SHAPES

_SHAPE = rf"(?<![A-Za-z0-9])(?:{'|'.join(SHAPES.values())})"
_IN_URL = r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
"""A name and a password inside an address, as proxies and databases have them."""
_USER_OF_URL = r"(?<=://)(?=[A-Za-z_]*\d)(?=\d*[A-Za-z_])[A-Za-z0-9_]{20,}(?=@)"
"""A key in place of the name, as `git clone https://KEY@host/x` has it."""
_SIGNED_URL = (
    r"(?i:(?<=[?&])(?:X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-Signature|Signature|sig"
    r"|se|token|access_token|api_?key|key|auth|password|secret)=[^&\s'\"]{6,})"
)
_HEADER = r"(?i:(?<=authorization:)\s*\w+\s+\S{6,}|\b(?:bearer|basic) [\w.~+/-]{12,}=*)"

_PAIR = (
    r"""((?<![\w-])--?[A-Za-z][\w-]+(?=\s)|[A-Za-z_][\w.-]{2,60}(?=["']?\s{0,2}[=:]))"""
    r"""(["']?\s{0,2}[=:]\s{0,2}["']?|\s+)([^\s"',;&<>(){}\[\]]{4,})"""
)
"""A name and its value: `NAME=VALUE`, `"name": "value"`, `--name VALUE`."""
_KEY = r"(?<![\w$/.-])([A-Za-z0-9_-]{20,})(?![\w/.-])"
_LOGIN = (
    rf"\blogin(?=[\s'\"])[^;&|\n]{{0,200}}?{_KEY}",
    rf"\b(?:echo|printf)\b[^;&|\n]{{0,200}}?{_KEY}[\"']?\s{{0,9}}\|[^;&|\n]{{0,200}}?\blogin(?![\w-])",
)
"""A key that a command logs in with: `wandb login KEY`, `echo KEY | wandb login`."""
_ENDS_OF_MESSAGES = re.compile(r"(?:Error|Exception|Warning)$")

_SURE_WORDS = {
    "password", "passwd", "passphrase", "secret", "secrets", "credential", "credentials",
    "sshpass", "apikey", "jwt", "bearer", "cookie", "cookies", "dsn", "sas",
}  # fmt: skip
"""In a name, they mean that the value is secret, whatever it is."""
_LIKELY_WORDS = {"token", "tokens", "key", "keys", "auth", "pat", "signature", "authorization"}
"""In a name, they mean it where the value could be: keys and tokens are other things, too."""
_SURE_NAMES = re.compile(
    r"(?:API|ACCESS|ACCOUNT|PRIVATE|SECRET|ENCRYPTION|SIGNING|LICENSE|WANDB)_?KEY"
    r"|(?:AUTH|ACCESS|HUB|HF|API|BOT|SESSION|REFRESH|GITHUB|GITLAB|ID)_?TOKEN|CONNECTION_?STRING",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SURE_ENDS = {"pass", "pwd"}
_PLACE_ENDS = {"path", "file", "dir", "folder", "sock", "socket", "home", "cmd", "command", "url"}
"""Ends of names whose value is where something is, and not the thing."""
_PLACE = re.compile(r"[/~$@.<]|\w:\\|file:")
"""How a value begins that is a path, a variable or a placeholder."""
_HARMLESS = {"", "none", "null", "true", "false", "yes", "no", "on", "off", "auto", "default"}
MIN_KEY_CHARACTERS = 16
MIN_CHANGES = 3
"""From letters to digits and back, in a random key."""
MIN_ENTROPY_BITS = 3.0
"""Bits in a character of a random key; English words have 2.5 to 4, but they hold no digits."""


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Return the shapes, compiled where the first text is looked at: that takes some 20 ms."""
    return tuple(map(re.compile, (_SHAPE, _IN_URL, _USER_OF_URL, _SIGNED_URL, _HEADER)))


@cache
def _logins() -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, _LOGIN))


@cache
def _pair() -> re.Pattern[str]:
    return re.compile(_PAIR)


def find_secret(text: str) -> str | None:
    """Return the first part of a text that has the shape of a secret, None where none has."""
    for pattern in _patterns():
        match = pattern.search(text)
        if match:
            return match.group()
    return None


def begin_of(secret: str) -> str:
    """Return what of a secret can be shown: its first characters, and nothing of a password."""
    return f"'{secret.strip()[:4].partition(':')[0]}...'"


def mask(text: str) -> str:
    """Return a text, such as a line of a log, with every secret in it replaced by `***`.

    A secret is what has the shape of one, and a value under a telling name: `password=...`,
    `--token ...`, `"api_key": "..."`. Under a name such as `key` only what is random counts: keys
    are names of tensors, too.
    """
    for pattern in _patterns():
        text = pattern.sub("***", text)
    if "login" in text:
        for pattern in _logins():
            text = pattern.sub(_masked_login, text)
    return _pair().sub(_masked_pair, text)


def _masked_login(match: re.Match[str]) -> str:
    return match.group().replace(match[1], "***") if _is_random(match[1]) else match.group()


def _masked_pair(match: re.Match[str]) -> str:
    name, between, _ = match.groups()
    return f"{name}{between}***" if _is_secret_pair(match, _is_random) else match.group()


def _is_secret_pair(match: re.Match[str], is_key: Callable[[str], bool]) -> bool:
    name, between, value = match.groups()
    if _ENDS_OF_MESSAGES.search(name) or not _by_name(name, value, is_key):
        return False
    if between.isspace() and value.startswith("-"):  # the next option: this one is a switch
        return False
    # Prose: "password: missing".
    return ":" not in between or re.search(r"[\d'\"]", between + value) is not None


def secret_in(text: str) -> str | None:
    """Return what can be shown of the first secret in a script or recipe, None where none is.

    That is the first characters of what has the shape of a secret, or the telling name that a
    random value stands under.
    """
    shape = find_secret(text)
    return begin_of(shape) if shape is not None else _telling_name(text, _is_random)


def _telling_name(text: str, is_key: Callable[[str], bool]) -> str | None:
    if "login" in text:
        keys = (match[1] for pattern in _logins() for match in pattern.finditer(text))
        if any(_is_random(key) for key in keys):
            return "login"
    pairs = (match for match in _pair().finditer(text) if _is_secret_pair(match, is_key))
    return next((match[1].lstrip("-")[:40] for match in pairs), None)


def _is_random(value: str) -> bool:
    """Return whether a value is a key that somebody's computer drew, and no name."""
    changes = re.findall(r"(?<=[A-Za-z])\d|(?<=\d)[A-Za-z]", value)
    return _could_be_key(value) and len(changes) >= MIN_CHANGES and "." not in value


def is_secret(name: str, value: str) -> bool:
    """Return whether a variable is probably secret, by its name or by the shape of its value.

    Here a telling name is enough: what a job does not inherit for it is said.
    """
    return find_secret(value) is not None or _by_name(name, value, lambda text: not text.isdigit())


def secret_argument(words: Iterable[str]) -> str | None:
    """Return the option, variable or shape of the first secret in a command line, None if none.

    What is returned can be shown: it is a name, or a secret's first characters.
    """
    name = ""
    for word in words:
        shape = find_secret(word)
        if shape is not None:
            return begin_of(shape)
        if name and not word.startswith("-") and _by_name(name, word, _could_be_key):
            return name
        key, equals, value = word.partition("=")
        if equals and _by_name(key, value, _could_be_key):
            return key.lstrip("-")[:40]
        inside = _telling_name(word, _could_be_key)  # of `bash -c`, or of JSON
        if inside is not None:
            return inside
        name = word.lstrip("-")[:40] if word.startswith("-") and not equals else ""
        if word == "login":  # `wandb login KEY`
            name = "key"
    return None


def _by_name(name: str, value: str, is_key: Callable[[str], bool]) -> bool:
    words = [each.lower() for each in _WORD.findall(name)]
    if not words or value.strip().lower() in _HARMLESS or _PLACE.match(value.strip()):
        return False
    if "webhook" in words and "://" in value:
        return True
    if words[-1] in _PLACE_ENDS:
        return False
    if words[-1] in _SURE_ENDS or _SURE_WORDS & set(words) or _SURE_NAMES.search(name):
        return True
    return bool(_LIKELY_WORDS & set(words)) and is_key(value)


def _could_be_key(value: str) -> bool:
    """Return whether a value is long, random and one word, as keys are."""
    if len(value) < MIN_KEY_CHARACTERS or re.search(r"\s", value):
        return False
    if not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return False
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy >= MIN_ENTROPY_BITS
