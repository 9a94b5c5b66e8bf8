"""The Hugging Face hub: out of reach, without access, or without what was asked for."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.diagnose.services import Fault, Trouble, trouble

_REPOSITORY = re.compile(
    r"huggingface\.co/(?:api/)?(?:models/|datasets/)?(?!docs/|api/|settings|join|repos/|whoami)([\w.-]+/[\w.-]+)"
)
_CALLED = re.compile(
    r"(?:from_pretrained|load_dataset|snapshot_download|hf_hub_download)\(\s*"
    r"(?:(?:repo_id|path|pretrained_model_name_or_path)\s*=\s*)?['\"]([\w.-]+(?:/[\w.-]+)?)['\"]"
)
_ADDRESS = re.compile(r"(?:hf:/|url: /api)/(?:datasets|models)/([\w.-]+/[\w.-]+)")
_TOKEN = re.compile(
    r"[Ii]nvalid user token|whoami|don't have the rights|write token|Invalid credentials"
)
_REFUSED = re.compile(r"403 Forbidden: (\w.+)")
_NO_NAME = re.compile(
    r"docs/|api/|http|the/|\.|(?:models?|out|outputs?|checkpoints?|ckpts?|data|results?|runs?|saves?"
    r"|weights?)/"
)
"""Pages, and folders as programs call them, which are no repositories."""
_ON_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_REQUESTED = re.compile(r"huggingface\.co/(datasets/)?([\w.-]+/[\w.-]+)/resolve/")
_REVISION = re.compile(r"Invalid rev id: (\S+)|(\S+) is not a valid git identifier")
_NAMED = re.compile(
    r"(?:[Mm]odel|[Dd]ataset|identifier|repo|reach|like|[Dd]ownload) [\"'`]?([\w.-]+/[\w.-]+)"
)
_STARTS = re.compile(r"^(?:OSError|EnvironmentError): ([\w.-]+/[\w.-]+) (?:is not|does not)", re.M)
_DATA = re.compile(
    r"load_dataset\(|/datasets/|datasets\.exceptions|[Dd]ataset '|on the Hub \("
    r"|no dataset called|dataset \S+ is not on the hub|hf://datasets/"
    r"|repo_type\s*=\s*['\"]dataset"
)
_MODEL = re.compile(r"from_pretrained\(|AutoTokenizer|AutoConfig|[Mm]odel ")


def repository(evidence: RunEvidence, *lines: Clue) -> tuple[str, bool]:
    """Return the repository that it is about ('' if it is not named), and whether it is data."""
    text = evidence.last_words
    data = [match.start() for match in _DATA.finditer(text)]
    model = [match.start() for match in _MODEL.finditer(text)]
    is_data = bool(data) and data[-1] >= max(model, default=-1)
    for each in (*(line.text for line in lines), text):
        for pattern in (_STARTS, _NAMED, _REPOSITORY, _ADDRESS, _CALLED):
            match = pattern.search(each)
            if match and not _NO_NAME.match(match[1]):
                return match[1].rstrip(".").lstrip("-"), is_data
    context = b"".join(rank.context for rank in evidence.speakers[:1])
    match = _REQUESTED.search(context.decode("utf-8", errors="replace"))
    if match:
        return match[2].lstrip("-"), bool(match[1]) or is_data
    recipe = advice.recipe(evidence)
    if recipe is not None:
        name = (recipe.data.title if is_data else recipe.model.name) or ""
        return (name if _ON_HUB.fullmatch(name) else ""), is_data
    return "", is_data


def _of_hub(evidence: RunEvidence, *faults: Fault) -> tuple[Trouble, Clue] | None:
    """Return the trouble with the hub if it is one of some faults, and the line that says so."""
    found = trouble(evidence.last_words)
    if found is None or found.service != "hub" or found.fault not in faults:
        return None
    return found, advice.line_with(evidence, found.line)


def offline(evidence: RunEvidence) -> Cause | None:
    """It is not in the cache, and the node has no way to the hub."""
    found = _of_hub(evidence, "unreachable")
    other = trouble(evidence.last_words)
    line = found[1] if found else evidence.root_cause_line("offline")
    if line is None or (other is not None and other.service != "hub"):
        return None
    if other is not None and other.fault not in {"unreachable", "access"}:
        return None
    if evidence.root_cause_line("not_found") and not _unreachable(evidence):
        return None
    name, data = repository(evidence, line)
    proxy = " through its proxy" if found and found[0].by_proxy else ""
    what = name or "what was asked for"
    headline = f"{what} is not in the cache, and the node does not reach the hub{proxy}"
    login = ("the proxy asks for a login (407): ask your site's support which one jobs may use",)
    steps = (
        *(login if "407 " in evidence.last_words else ()),
        *_fetch(name, data),
        "the job looks in the same HF_HOME as your shell: it must be on shared storage",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (line,), *evidence.rank_and_host(line))


def _unreachable(evidence: RunEvidence) -> bool:
    """Return whether the output says that the hub was not reached: then nothing is known of it."""
    return _of_hub(evidence, "unreachable", "cut") is not None or any(
        words in evidence.last_words for words in ("fetch it where there is", "couldn't connect")
    )


def _fetch(name: str, data: bool) -> tuple[str, ...]:
    kind = " --repo-type dataset" if data else ""
    if name:
        return (f"fetch it where there is internet: hf download {name}{kind}",)
    return (
        "fetch it where there is internet, with hf download (of data with --repo-type dataset)",
    )


def download_cut(evidence: RunEvidence) -> Cause | None:
    """A download from the hub broke off, or the hub did not answer in time."""
    found = _of_hub(evidence, "cut")
    if found is None and "416 Client Error" in evidence.last_words:
        return _beyond_its_end(evidence)
    if found is None:
        return None
    name, data = repository(evidence)
    headline = f"the download of {name} from the hub broke off" if name else (
        "a download from the hub broke off"
    )  # fmt: skip
    if re.search("timed out|ReadTimeout|FSTimeout", found[0].line):
        headline = f"the hub did not answer in time, asked for {name or 'a file'}"
    steps = (advice.resume(evidence), *_fetch(name, data))
    if "hf_transfer" in evidence.last_words:
        steps = ("without HF_HUB_ENABLE_HF_TRANSFER a download is tried again by itself", *steps)
    return Cause(headline, steps, (found[1],), *advice.who(evidence, found[1]))


def _beyond_its_end(evidence: RunEvidence) -> Cause | None:
    """The part of a file that is in the cache is longer than the hub's file."""
    name, data = repository(evidence)
    line = evidence.culprit.clue() if evidence.culprit else None
    if line is None or not name:
        return None
    kind = " --repo-type dataset" if data else ""
    step = f"fetch it anew: hf download {name}{kind} --force-download, or remove the files that "
    headline = f"a part of {name} in the cache does not fit the hub's file (416)"
    return advice.cause(evidence, line, headline, f"{step}end in .incomplete below its cache")


def server_error(evidence: RunEvidence) -> Cause | None:
    """The hub has a fault of its own."""
    found = _of_hub(evidence, "server")
    if found is None:
        return None
    name, data = repository(evidence)
    number = re.search(r"\b(50[0-4])\b", found[0].line)
    which = f" ({number[1]})" if number else ""
    steps = (
        "see https://status.huggingface.co, and go on when it is well",
        *_fetch(name, data),
        advice.resume(evidence),
    )
    headline = f"the hub has a fault of its own{which}"
    return Cause(headline, steps, (found[1],), *advice.who(evidence, found[1]))


def rate_limit(evidence: RunEvidence) -> Cause | None:
    """The hub refuses further requests for a while."""
    found = _of_hub(evidence, "limit")
    if found is None:
        return None
    name, data = repository(evidence)
    once = _fetch(name, data)[0].removeprefix("fetch it where there is internet")
    steps = (
        f"wait an hour; or fetch it once, before the job{once}",
        "with a token more is allowed: hf auth login",
        advice.resume(evidence),
    )
    headline = "the hub was asked too often, and answers no more for a while (429)"
    return Cause(headline, steps, (found[1],), *advice.who(evidence, found[1]))


def not_found(evidence: RunEvidence) -> Cause | None:
    """A model, dataset, revision or file does not exist under that name."""
    line = evidence.root_cause_line("not_found")
    if line is None or _unreachable(evidence) or evidence.root_cause_line("gated"):
        return None
    name, _ = repository(evidence, line)
    revision = _REVISION.search(evidence.last_words)
    if revision and name:
        headline = f"{name} has no revision {revision[1] or revision[2]} on the hub"
    elif "Entry Not Found" in line.text:
        headline = f"{name or 'the repository'} on the hub has no such file: {line.text}"
    else:
        headline = f"{name} was not found on the hub" if name else line.text
    steps = (
        "see the name: model.name or data.name in the recipe, or your program's own setting",
        "a private one needs a token: hf auth login",
    )
    return Cause(headline, steps, (line,), *evidence.rank_and_host(line))


def no_access(evidence: RunEvidence) -> Cause | None:
    """The hub refused: a gated repository, or no token."""
    found = _of_hub(evidence, "access")
    line = evidence.root_cause_line("gated") or (found[1] if found else None)
    if line is None or not_found(evidence) is not None:
        return None
    name, data = repository(evidence, line)
    path = "datasets/" * data + name
    where = f"https://huggingface.co/{path}" if name else "its page on the hub"
    headline = f"the hub gives no access to {name}" if name else "the hub gives no access"
    first = f"ask for access: {where}"
    refused = _REFUSED.search(evidence.last_words)
    if refused:
        headline = f"the hub refuses: {refused[1].rstrip('.')}"
        first = f"what your account may do there: {where}"
        if "storage" in refused[1]:
            room = "make room in your account on the hub, or upload to a public repository"
            return Cause(
                headline, (room, advice.resume(evidence)), (line,), *evidence.rank_and_host(line)
            )
    if _TOKEN.search(evidence.last_words):
        headline = "the hub refuses the token: it is wrong, has run out, or lacks the right"
        first = (
            "make a token with the rights that are needed: https://huggingface.co/settings/tokens"
        )
    steps = (
        first,
        "then save a token where the job finds it: hf auth login",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (line,), *evidence.rank_and_host(line))
