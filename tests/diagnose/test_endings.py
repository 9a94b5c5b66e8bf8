"""What an output ended with: the exception that nothing caught, or the program's last words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.diagnose.last_words import argument_error, last_words
from hpclaunch.diagnose.services import trouble
from hpclaunch.diagnose.tracebacks import HEADER, ending

FRAME = '  File "/home/ada/train.py", line 9, in <module>\n    go()'
TRACEBACK = f"{HEADER}:\n{FRAME}\n"


def error_of(text: str) -> str | None:
    found = ending(text.split("\n"), 60)
    return found.error if found else None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"{TRACEBACK}ValueError: x", "ValueError: x"),
        (f"{TRACEBACK}Exception: bare", "Exception: bare"),
        (f"{TRACEBACK}my.package.Odd", "my.package.Odd"),
        (f"{TRACEBACK}ray.exceptions.RayTaskError(ValueError): x",
         "ray.exceptions.RayTaskError(ValueError): x"),
        (f"12%|# | 3/9 [00:01<00:02]{TRACEBACK}KeyError: 'a'", "KeyError: 'a'"),
        ("[rank3]: " + f"{TRACEBACK}OSError: y".replace("\n", "\n[rank3]: "), "OSError: y"),
        (f"{TRACEBACK}ValueError: x\nException ignored in: <f>\n{TRACEBACK}KeyError: 1",
         "ValueError: x"),
        (f"ERROR:root:went wrong\n{TRACEBACK}KeyError: 1\n{TRACEBACK}ValueError: x\nmore",
         "ValueError: x"),
        (f"Exception in thread Thread-4:\n{TRACEBACK}KeyError: 1\n{TRACEBACK}TypeError: x",
         "TypeError: x"),
        (f"{TRACEBACK}RuntimeError: a\nncclSystemError: b\nLast error:\nc d\n",
         "RuntimeError: a. Last error: c d"),
        (f"{TRACEBACK}torch.distributed.elastic.multiprocessing.errors.ChildFailedError:\nx", None),
        ("subprocess.TimeoutExpired: Command 'x' timed out after 3 seconds",
         "subprocess.TimeoutExpired: Command 'x' timed out after 3 seconds"),
        ("all is well", None),
        (f"{TRACEBACK}", None),
    ],
)  # fmt: skip
def test_the_exception_that_ended_it(text: str, error: str | None) -> None:
    assert error_of(text) == error


def test_a_chain_begins_with_its_first_traceback() -> None:
    chain = "\n\nThe above exception was the direct cause of the following exception:\n\n"
    lines = f"before\n{TRACEBACK}OSError: full{chain}{TRACEBACK}ValueError: x".split("\n")
    found = ending(lines, 60)
    assert found is not None
    assert (found.begin, lines[found.at]) == (1, "ValueError: x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("config: no key lr", "config: no key lr"),
        ("wandb: synced\nINFO done\n{'loss': 1}\n 3%|# | 1/9 [00:01<00:02,  1.2s/it]", ""),
        ("no such file\n/x/y.py:3: FutureWarning: old\n  warnings.warn(", "no such file"),
        ("2026-11-21 03:36:40,120 INFO train: step", ""),
        ("2026-11-21 03:36:40 ERROR train: no data", "2026-11-21 03:36:40 ERROR train: no data"),
        ("", ""),
    ],
)
def test_last_words(text: str, words: str) -> None:
    assert last_words(text.split("\n")) == words


def test_what_argparse_says() -> None:
    text = "usage: a.py [-h]\na.py: error: unrecognized arguments: --b\n"
    assert argument_error(text.split("\n")) == "a.py: error: unrecognized arguments: --b"
    assert argument_error(["all is well"]) == ""


@pytest.mark.parametrize(
    ("text", "service", "fault", "host"),
    [
        ("a\nrequests.exceptions.HTTPError: 403 Client Error: for url: https://huggingface.co/a/b",
         "hub", "access", "huggingface.co"),
        ("wandb.errors.CommError: Run initialization has timed out", "wandb", "unreachable", ""),
        ("model = from_pretrained('a/b')\nConnectionResetError: [Errno 104] Connection reset",
         "hub", "cut", ""),
        ("x: HTTPConnectionPool(host='lab7', port=80): Max retries exceeded with url: /a",
         "other", "unreachable", "lab7"),
        ("botocore.exceptions.NoCredentialsError: Unable to locate credentials",
         "storage", "access", ""),
        ("ProxyError('x', OSError('Tunnel connection failed: 403 Forbidden')) https://hf.co/a",
         "hub", "unreachable", "hf.co"),
    ],
)  # fmt: skip
def test_services_are_told_apart(text: str, service: str, fault: str, host: str) -> None:
    found = trouble(text)
    assert found is not None
    assert (found.service, found.fault, found.host) == (service, fault, host)


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: [gloo/pair.cc:5] Connection reset by peer [10.0.0.7]:4524",
        "DistNetworkError: The client socket has timed out, connecting to (node1.x.org, 29500)",
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        "ValueError: see https://pytorch.org/docs/stable/elastic/errors.html",
    ],
)
def test_another_rank_is_no_service(text: str) -> None:
    assert trouble(text) is None


LINES = st.lists(
    st.sampled_from([f"{HEADER}:", FRAME, "ValueError: x", "Last error:", '"""', "╭─ Traceback", "",
                     "Exception ignored in: <f>", f"{HEADER}: (RANK 1)", "[rank1]: a"])
    | st.text(max_size=40),
    max_size=12,
)  # fmt: skip


@given(LINES)
def test_any_output_is_read(lines: list[str]) -> None:
    found = ending(lines, 60)
    if found is not None:
        assert found.begin <= found.at < found.stop <= len(lines)
        assert found.error
    last_words(lines)
    trouble("\n".join(lines))
