"""Which service a program did not get what it asked of, and what went wrong with it. Pure."""

from __future__ import annotations

import re
from typing import Literal

from hpclaunch.frozen import frozen

Service = Literal["hub", "wandb", "storage", "packages", "other"]
Fault = Literal["certificate", "access", "limit", "server", "unreachable", "cut"]

_RANKS = re.compile(r"Dist(?:Network|Store|Backend)Error|gloo|NCCL|c10d|TCPStore|ProcessGroup")
"""Not a service, but another rank."""

_PROCESSES = re.compile(r"multiprocess(?:ing)?/(?:connection|managers|queues|pool|popen\w*)\.py")
"""Not a service, but a process of the rank's own."""

_FAULTS: tuple[tuple[Fault, re.Pattern[str]], ...] = (
    ("certificate", re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError")),
    ("unreachable", re.compile(r"ProxyError|Tunnel connection failed")),
    ("limit", re.compile(r"429 Client Error|429 Too Many|SlowDown|TooManyRequests")),
    ("access", re.compile(
        r"40[13] Client Error|\b401 Unauthorized|\b403 Forbidden|(?i:returned error 40[13])"
        r"|api_key not configured|No API key|PERMISSION_ERROR|permission denied \(<"
        r"|do not have permission to access|NoCredentials|Unable to locate credentials"
        r"|Access ?Denied|does not have storage\.\S+ access|HttpError: .*, 40[13]\b"
        r"|InvalidAccessKey|SignatureDoesNotMatch|ExpiredToken"
        r"|DefaultCredentialsError|API key must|[Ii]nvalid API key|\(40[13]\)|AuthenticationError"
        r"|API key you provided|CredentialUnavailable|failed to authenticate")),
    ("server", re.compile(r"\b50[0-4] (?:Server Error|Internal Server|Bad Gateway|Service Un|Gate)"
                          r"|Gateway Time-?out|returned error 50[0-4]")),
    ("unreachable", re.compile(
        r"NewConnectionError|NameResolution|Name or service not known|Temporary failure in name"
        r"|Network is unreachable|No route to host|ConnectTimeout|ConnectError|Connection refused"
        r"|EndpointConnectionError|nodename nor servname|connect timeout|\[Errno -[235]\]"
        r"|Could not resolve host|dns error|offline mode is enabled|getaddrinfo failed")),
    ("cut", re.compile(
        r"IncompleteRead|ClientPayloadError|FSTimeoutError|ChunkedEncodingError"
        r"|ConnectionResetError|Connection aborted"
        r"|RemoteDisconnected|ProtocolError|Read timed out|ReadTimeout|http\w+\.ReadError"
        r"|Consistency check|without sending complete message|CAS service error|Connection broken"
        r"|[Cc]onnection reset|error decoding response body|request or response body error"
        r"|Data processing error")),
    ("unreachable", re.compile(
        r"Max retries exceeded|LocalEntryNotFoundError|couldn't connect to 'http|Couldn't reach"
        r"|Run initialization has timed out|Network error|entering retry loop|Cannot reach http"
        r"|CommError(?!.*returned error [45]\d\d)|CondaHTTPError"
        r"|CONNECTION FAILED|Connection to \S+ timed out|APIConnectionError|ConnectionError")),
)  # fmt: skip
"""What went wrong, the most telling first."""

_CLASSES: tuple[tuple[Service, re.Pattern[str]], ...] = (
    ("wandb", re.compile(r"^(?:\[rank\d+\]: ?)?wandb\.", re.MULTILINE)),
    ("storage", re.compile(
        r"^(?:\[rank\d+\]: ?)?(?:botocore|boto3|s3fs|gcsfs|adlfs|azure\.|google\.|minio)",
        re.MULTILINE)),
    ("hub", re.compile(r"^(?:\[rank\d+\]: ?)?huggingface_hub\.", re.MULTILINE)),
)  # fmt: skip
"""Exceptions by which a service is known."""
_HOSTS: tuple[tuple[Service, re.Pattern[str]], ...] = (
    ("hub", re.compile(r"(?:^|\.)(?:huggingface\.co|hf\.co|hf-mirror\.com)$")),
    ("wandb", re.compile(r"(?:^|\.)wandb\.(?:ai|io|me|com)$|^wandb\.")),
    ("storage", re.compile(
        r"amazonaws\.com$|storage\.googleapis\.com$|blob\.core\.windows\.net$|cloudflarestorage"
        r"|digitaloceanspaces|backblazeb2|(?:^|\.)(?:s3|minio|ceph|swift)[.-]")),
    ("packages", re.compile(
        r"(?:^|\.)(?:pypi\.org|pythonhosted\.org|pypi\.nvidia\.com|anaconda\.(?:org|com))$"
        r"|^download\.pytorch\.org$")),
)  # fmt: skip
_FRAMES: tuple[tuple[Service, re.Pattern[str]], ...] = (
    ("wandb", re.compile(r"\bwandb[./]")),
    ("storage", re.compile(r"botocore/|s3fs/|gcsfs/|adlfs/|['\"](?:s3|gs|az|abfs)://")),
    ("hub", re.compile(
        r"huggingface_hub/|from_pretrained\(|snapshot_download\(|hf_hub_download\(|load_dataset\("
        r"|datasets/(?:load|utils|data_files|builder)|transformers/utils/hub|push_to_hub|HfApi")),
)  # fmt: skip

_HOST = re.compile(
    r"host='([\w.-]+)'|https?://([\w.-]+\w)|Connection to ([\w.-]+\w) timed out"
    r"|Failed to resolve '([\w.-]+)'|resolve host: ?'?([\w.-]+\w)"
)
_PAGES = re.compile(
    r"^(?:docs\.|pytorch\.org|www\.|github\.com$|discuss\.|community\.|readthedocs)"
)
"""Hosts of pages that messages point to."""
_PAGE_PATHS = re.compile(r"https?://[\w.-]+/docs/\S*|https?://[\w.-]+/settings/\S*")


@frozen
class Trouble:
    """A service, and what went wrong with it."""

    service: Service
    fault: Fault
    host: str
    """As the error names it; '' where it names none."""
    line: str
    """The line of the text that says so."""
    by_proxy: bool = False
    port: str = ""
    """`:8000`, where the error names one."""


def trouble(text: str) -> Trouble | None:
    """Return what a traceback, or a script's end, says of a service; None if it says nothing."""
    if _RANKS.search(text):
        return None
    raw = text.split("\n")
    lines = [_PAGE_PATHS.sub("", line) for line in raw]
    for fault, pattern in _FAULTS:
        found = [at for at, line in enumerate(lines) if pattern.search(line)]
        if found:
            service, host = _service([lines[at] for at in found[::-1]], lines[::-1], text)
            if service is None:
                return None
            line, proxy = raw[found[-1]].strip(), bool(_FAULTS[1][1].search(text))
            port = re.search(rf"{re.escape(host)}'?,? ?(?:port=|:)(\d+)", text) if host else None
            return Trouble(service, fault, host, line, proxy, f":{port[1]}" if port else "")
    return None


def _service(found: list[str], lines: list[str], text: str) -> tuple[Service | None, str]:
    """Return service and host: by the exception, by the host that it names, by its frames."""
    host = _host(found, pages=True) or _host(lines)
    for service, pattern in _CLASSES:
        if pattern.search(text):
            return service, host
    if host:
        named = (service for service, pattern in _HOSTS if pattern.search(host))
        return next(named, "other"), host
    if _PROCESSES.search(text):
        return None, ""
    return next((service for service, pattern in _FRAMES if pattern.search(text)), None), ""


def _host(lines: list[str], pages: bool = False) -> str:
    """Return the first host that lines name; '' where they name none.

    `pages`: hosts of pages count, too, as they do in the line that says what went wrong.
    """
    for line in lines:
        for match in _HOST.finditer(line):
            host = next(group for group in match.groups() if group)
            if pages or not _PAGES.search(host):
                return host
    return ""
