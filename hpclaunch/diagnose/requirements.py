"""What a message asks to be installed: the package, its version, and the message's own command.

Names and commands go into what a user pastes: no word of a log becomes an option of pip here but
those of `_OPTIONS`, and no address is taken. Pure.
"""

from __future__ import annotations

import re
import shlex

from hpclaunch.diagnose.packages import MODULES, PIP, REBUILT
from hpclaunch.frozen import frozen

_COMMAND = re.compile(r"([`('\"])?\s*(?:python3? -m )?\bpip3? install ([^\n`)]+)")
_ELSEWHERE = re.compile(r"git\+|from source|[Ii]nstallation guide|official doc|Docker")
"""It is not simply on the index under its name."""
_OPTIONS = {"-U", "--upgrade", "--no-build-isolation", "--pre"}
_NAME = r"[A-Za-z][\w-]*(?:\.\w[\w-]*)*"
_BOUND = r"(?:[<>=!~]=|[<>])\s*\d(?:[\w.*]*[\w*])?"
_WORD = re.compile(rf"({_NAME})(\[[\w,-]+\])?((?:{_BOUND})(?:,{_BOUND})*)?")
_TEXT = rf"[`'\"]?({_NAME})[`'\"]?"
_QUOTED = rf"[`'\"]({_NAME})[`'\"]"
_STATED = re.compile(
    rf"The {_QUOTED} distribution was not found"
    rf"|[Tt]he package {_TEXT} (?:seems|is|was|could)"
    rf"|{_TEXT} (?:(?:library|package|module) )?(?:is not|isn't|was not) (?:installed|available)\b"
    rf"|requires (?:the )?{_QUOTED}(?: (?:library|package|module|extra)| to be installed|[:.]|$)"
    rf"|requires (?:the )?{_TEXT}(?: (?:library|package|module)\b| to be installed|: *`?pip)"
    rf"|{_TEXT} is required (?:to|for|when|but)\b"
)
"""How libraries say which package is not there."""
_TO_INSTALL = re.compile(
    rf"[Pp]lease install (?:the )?{_TEXT}(?: (?:with|to|library|package|first|using|via|version)\b"
    r"|[.,(:]|$)"
    rf"|need (?:to install|to have) (?:the )?{_QUOTED}"
    rf"|(?:pip or conda to|must|need to) install {_TEXT}"
)
"""How they say what to install: that counts before a class that is not available without it."""
_BOUNDED = re.compile(
    rf"version '(?P<of>\d[\w.]*)' or newer of '(?P<pandas>{_NAME})'"
    rf"|[`'\"]?(?P<name>{_NAME})[`'\"]?(?: version)? ?(?P<bound>{_BOUND}(?: ?, ?{_BOUND})*)"
    rf"|[`'\"]?\b(?P<newer>(?!requires?\b){_NAME})[`'\"]? version [`'\"]?(?P<least>\d[\w.]*\w)"
    r"[`'\"]?"
    r" or (?:higher|newer|later)"
)
"""How they say which version."""
_OLD = re.compile(
    r"[Uu]pgrade (?!\w+`)|update |[Yy]our version|but found|you are using|you have"
    r"|but (?:version )?\d|or (?:higher|newer|later)|more recent|detected|currently installed"
)
_EITHER = re.compile(r"pip3? install (?:\S+ )?(?:-U|--upgrade)\b|latest version")
"""It may be missing as well as too old."""
_OF_SENTENCE = {"and", "for", "if", "in", "on", "or", "the", "then", "to", "with"}
_NO_NAMES = {
    "a", "all", "an", "any", "at", "both", "either", "extra", "following", "fp8", "it", "latest",
    "library", "one", "package", "python", "pytorch", "the", "them", "these", "this",
    "torch.distributed", "which", "your",
}  # fmt: skip


@frozen
class Requirement:
    """A package that a message asks for."""

    name: str
    """As the message writes it, or the index; '' where the message names none."""
    bound: str = ""
    """`>=1.1.0`; '' where any version does."""
    outdated: bool = False
    """The message speaks of a version that is there, and is another."""
    old_or_missing: bool = False
    """The message does not say whether it is there at all."""
    elsewhere: bool = False
    """The message says that it comes from somewhere else than the index."""
    words: tuple[str, ...] = ()
    """What follows `pip install` in the message, made safe to paste; () where it has no command."""

    @property
    def command(self) -> str:
        """Return the command that installs it; '' where it is not known."""
        if not self.name or (self.elsewhere and not self.words and not self.bound):
            return ""
        words = self.words or (f"{_index_name(self.name)}{self.bound}",)
        plain = {word.partition("[")[0].partition(">")[0].lower() for word in words}
        rebuilt = bool(plain & REBUILT) and "--no-build-isolation" not in words
        isolated = ["--no-build-isolation"] * rebuilt
        return f"python -m pip install {shlex.join([*words, *isolated])}"


def requirement(text: str) -> Requirement:
    """Return what a message asks to be installed; its name is '' where it says no package.

    The command in the message counts before words that stand before it: those may name a class, an
    argument or a method that needs the package.
    """
    commands = [words for match in _COMMAND.finditer(text) if (words := _words(*match.groups()))]
    matches = [*_TO_INSTALL.finditer(text), *_STATED.finditer(text)]
    stated = [_index_name(each) for match in matches for each in match.groups()
              if each and each.lower() not in _NO_NAMES]  # fmt: skip
    bounds: dict[str, str] = {}
    for package, bound in _bounds(text):
        bounds.setdefault(_index_name(package), bound)
    for words in commands:  # the command for what the message says is missing, or too old
        named = [each for word in words if (each := _index_name(_base(word))) in {*stated, *bounds}]
        if named:
            return _with(text, named[0], bounds.get(named[0], ""), words)
    extras = next((words for words in commands if any("[" in word for word in words)), ())
    if extras and stated:  # trl[vllm] for vllm
        return _with(text, stated[0], "", extras)
    if commands:
        first = next(word for word in commands[0] if word not in _OPTIONS)
        name = first if "[" in first else _index_name(_base(first))
        return _with(text, name, "", commands[0])
    name = next((each for each in [*stated, *bounds]), "")
    return _with(text, name, bounds.get(name, ""), ())


def _with(text: str, name: str, bound: str, words: tuple[str, ...]) -> Requirement:
    old = bool(bound or re.search(r"version", text)) and _OLD.search(text) is not None
    if old and words and not any(re.search(r"[<>=]", word) for word in words) and bound:
        words = tuple(f"{word}{bound}" if _index_name(word) == name else word for word in words)
    spelled = "[-_]".join(map(re.escape, name.split("-")))
    shown = re.search(rf"\b{spelled}(?![\w-])", text)
    either = bool(bound) or _EITHER.search(text) is not None
    elsewhere = _ELSEWHERE.search(text) is not None
    return Requirement(shown[0] if shown else name, bound, old, either, elsewhere, words)


def _bounds(text: str) -> list[tuple[str, str]]:
    """Return the packages that a message gives a version of, with the bound."""
    found = []
    for match in _BOUNDED.finditer(text):
        name = match["name"] or match["newer"] or match["pandas"]
        bound = match["bound"] or f">={match['least'] or match['of']}"
        known = name.lower().replace("-", "_") in MODULES
        written = f"{name}{bound}" in text and "Import" in text  # as pip takes it
        if known or written or match[0][0] in "`'\"":
            found.append((name, bound.replace(" ", "")))
    return found


def _words(opened: str | None, text: str) -> tuple[str, ...]:
    """Return the words of a command that pip may be given, up to the first that is none.

    `opened`: what stands before the command; without a mark around it, one package is taken, for
    what comes after it may be words of the sentence.
    """
    kept: list[str] = []
    for raw in text.split():
        word = raw if raw in _OPTIONS else raw.strip("'\"`,.;:)(")
        packages = [each for each in kept if each not in _OPTIONS]
        if word not in _OPTIONS and not _WORD.fullmatch(word):
            break
        if packages and (opened not in {"`", "("} or word in _OF_SENTENCE):
            break
        kept.append(word)
        if raw != word and raw.rstrip("'\"") != word and raw.endswith((".", ",", ";", ":")):
            break
    return tuple(kept) if any(word not in _OPTIONS for word in kept) else ()


def _base(word: str) -> str:
    match = _WORD.fullmatch(word)
    return match[1] if match else word


def _index_name(name: str) -> str:
    """Return a package's name as the index has it."""
    found = PIP.get(name) or PIP.get(name.partition(".")[0])
    return found or name.replace("_", "-").lower()
