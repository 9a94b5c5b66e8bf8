"""Services beside the hub: Weights & Biases, object stores, package indexes, and any other."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.diagnose.services import Service, Trouble, trouble

_WANTED = re.compile(r"(?:distribution found for|satisfies the requirement) ([\w.\[\]-]+)")
_IMAGE_FILE = re.compile(r"/library/([\w.-]+\.(?:sqsh|squashfs|sif))/manifests/")
"""An image in a file, where a name without a path means one of a registry."""
_KEY = {"access", "limit"}


def _of(evidence: RunEvidence, *services: Service) -> tuple[Trouble, Clue] | None:
    found = trouble(evidence.last_words)
    if found is None or found.service not in services:
        return None
    return found, advice.line_with(evidence, found.line)


def certificate(evidence: RunEvidence) -> Cause | None:
    """A service's certificate was not accepted."""
    found = trouble(evidence.last_words)
    if found is None or found.fault != "certificate":
        return None
    line = advice.line_with(evidence, found.line)
    host = found.host or "a service"
    who = advice.who(evidence, line)
    if "not yet valid" in found.line:
        node = who[1] or "the node"
        step = "compare them: date on the node and on a login node; tell your site's support"
        headline = (
            f"the clock of {node} is behind: the certificate of {host} is not yet valid there"
        )
        return Cause(headline, (step, advice.resume(evidence)), (line,), *who)
    steps = (
        "where a proxy of your site stands between: name its certificates in the job, as "
        "REQUESTS_CA_BUNDLE and SSL_CERT_FILE; ask your site's support for the file",
        "else the certificates of Python are old: python -m pip install --upgrade certifi",
        advice.resume(evidence),
    )
    why = ": it has expired" if "has expired" in found.line else ""
    headline = f"the certificate of {host} is not accepted on the node{why}"
    return Cause(headline, steps, (line,), *who)


def wandb_key(evidence: RunEvidence) -> Cause | None:
    """W&B has no key, a wrong one, or one without access to the project."""
    found = _of(evidence, "wandb")
    words = evidence.last_words
    asks = "EOF when reading a line" in words and "/wandb/" in words
    if asks:
        line = advice.line_with(evidence, words.rstrip().rpartition("\n")[2])
        found = Trouble("wandb", "access", "", "No API key: it asks for one"), line
    if found is None or found[0].fault not in _KEY:
        return None
    headline = "Weights & Biases refuses the key: it is missing, wrong, or may not write there"
    may_not = re.search(r"permission denied|PERMISSION_ERROR|returned error 403", words) is not None
    if "not configured" in found[0].line or "No API key" in found[0].line:
        headline = "Weights & Biases has no API key on the node"
    steps = (
        *(["see that entity and project are ones that your key may write to"] * may_not),
        "save a key where the job finds it: wandb login (in ~/.netrc, on shared storage)",
        "or go on without it: WANDB_MODE=offline, or report_to=none",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (found[1],), *advice.who(evidence, found[1]))


def wandb_offline(evidence: RunEvidence) -> Cause | None:
    """The node does not reach W&B, or it does not answer."""
    found = _of(evidence, "wandb")
    if found is None or found[0].fault in _KEY:
        return None
    host = found[0].host or "api.wandb.ai"
    headline = f"the node does not reach Weights & Biases ({host})"
    if found[0].fault == "server":
        headline = f"Weights & Biases has a fault of its own ({host})"
    steps = (
        "record on disk: WANDB_MODE=offline in the job, and later, where there is internet: wandb "
        "sync wandb/offline-run-*",
        "or without it: report_to=none",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (found[1],), *advice.who(evidence, found[1]))


def storage_access(evidence: RunEvidence) -> Cause | None:
    """The object store has no credentials, or refuses them."""
    found = _of(evidence, "storage")
    if found is None or found[0].fault not in _KEY:
        return None
    where = f" ({found[0].host})" if found[0].host else ""
    steps = (
        "save the store's credentials where the job finds them (~/.aws/credentials and the like, "
        "on shared storage); they may have run out",
        advice.resume(evidence),
    )
    headline = f"the object store{where} refuses access, or has no credentials: {found[1].text}"
    return Cause(headline, steps, (found[1],), *advice.who(evidence, found[1]))


def storage_offline(evidence: RunEvidence) -> Cause | None:
    """The node does not reach the object store."""
    found = _of(evidence, "storage")
    if found is None or found[0].fault in _KEY:
        return None
    host = found[0].host
    headline = f"the node does not reach the object store{f' {host}' if host else ''}"
    steps = (
        "copy what is needed to the cluster's own storage where there is internet; see the "
        "endpoint's address, and whether the node needs a proxy",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (found[1],), *advice.who(evidence, found[1]))


def package_index(evidence: RunEvidence) -> Cause | None:
    """The job installs a package, and the index cannot be reached or does not have it."""
    line = evidence.root_cause_line("package_index")
    found = _of(evidence, "packages")
    if line is None and found is None:
        return None
    retried = evidence.root_cause_line("pip_retry")
    shown = line or (found[1] if found else None)
    if shown is None:
        return None
    wanted = _WANTED.search(shown.text)
    what = wanted[1] if wanted else ""
    unreachable = retried is not None or (found is not None and found[0].fault != "access")
    host = found[0].host if found and found[0].service == "packages" else "pypi.org"
    if unreachable:
        headline = f"the package index ({host}) cannot be reached from the node"
        headline += f", to install {what}" if what else ""
        first = "install it on a login node, in the job's environment, and not in the job"
    else:
        headline = f"the package index has no {what or 'such package'} for this Python"
        first = "see the name, the version, and the job's Python: python -m pip index versions"
        first += f" {advice.word(what)}" if what else ""
    lines = (retried, shown) if retried else (shown,)
    return Cause(headline, (first, advice.resume(evidence)), lines)


def other_access(evidence: RunEvidence) -> Cause | None:
    """A service refuses the key."""
    found = _of(evidence, "other")
    if found is None or found[0].fault not in _KEY:
        return None
    text = found[1].text
    step = "see the key or token for it in the job"
    if "pyxis" in text or "enroot" in text:
        text = text.rpartition("[ERROR] ")[2]
        step = "enroot takes your login for the registry from ~/.config/enroot/.credentials"
        image = _IMAGE_FILE.search(text)
        if image:
            step = f"write the file's path, with / or ./ in front: --container-image ./{image[1]}"
            headline = f"{image[1]} was looked for in the registry, and not on disk"
            steps = (step, advice.resume(evidence))
            return Cause(headline, steps, (found[1],), *advice.who(evidence, found[1]))
    headline = f"{found[0].host} refuses: {text}"
    steps = (step, advice.resume(evidence))
    return Cause(headline, steps, (found[1],), *advice.who(evidence, found[1]))


def other_offline(evidence: RunEvidence) -> Cause | None:
    """A service cannot be reached, or does not answer."""
    found = _of(evidence, "other")
    if found is None or found[0].fault in _KEY:
        return None
    host, fault = f"{found[0].host}{found[0].port}", found[0].fault
    what = {"server": "has a fault of its own", "cut": "broke the connection off"}.get(
        fault, "cannot be reached from the node"
    )
    if re.search("[Rr]ead timed out|ReadTimeout", found[1].text):
        what = "did not answer in time"
    steps = (
        f"see that {host} is up, and reachable from a compute node",
        "what the job needs of it can be fetched before, where there is internet",
        advice.resume(evidence),
    )
    return Cause(f"{host} {what}", steps, (found[1],), *advice.who(evidence, found[1]))
