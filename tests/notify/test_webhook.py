"""The webhook: what it is sent, what it may not hold up, and where its address never stands."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.notify.__main__ import main
from hpclaunch.notify.send import post
from hpclaunch.recipe.load import load, to_yaml
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.webhook import VARIABLE, webhook_file, webhook_url
from tests.run.making import run_in

SECRET = "hooks/T0/B0/cafebabe"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent, and answers as its server says."""

    def do_POST(self) -> None:
        """Take a message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, json.loads(body)))  # type: ignore[attr-defined]  # this server's own
        time.sleep(self.server.slow_s)  # type: ignore[attr-defined]  # this server's own
        self.send_response(self.server.answer)  # type: ignore[attr-defined]  # this server's own
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A receiver whose address is in the variable."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.got, server.answer, server.slow_s = [], 200, 0.0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{server.server_address[1]}/{SECRET}")
    yield server
    server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that was told to notify, at step 3 of 10."""
    folder = run_in(tmp_path / "mine")
    folder.recipe.write_text(to_yaml(load("tiny", ["notify.webhook=true"])), "utf-8")
    log_event(folder.events, "start", world=1)
    log_event(folder.events, "step", step=3, total=10, loss=1.25, seconds=1.0, tokens=5)
    return folder


def test_the_end_of_a_run_is_posted(folder: RunFolder, receiver: Any) -> None:
    log_event(folder.events, "end", step=3, outcome="stopped", final="final")
    assert main([str(folder.root), "0"]) == 0
    ((path, sent),) = receiver.got
    assert path == f"/{SECRET}"
    assert sent["text"] == sent["content"] == "mine stopped at step 3 of 10, loss 1.2500"
    assert (sent["event"], sent["exit_code"], sent["step"], sent["eval_loss"]) == (
        "end", 0, 3, None,
    )  # fmt: skip


def test_a_failure_is_posted_with_its_cause_and_without_secrets(
    folder: RunFolder, receiver: Any
) -> None:
    folder.logs.mkdir(exist_ok=True)
    token = "hf_" + "a1" * 15
    log = f"""Traceback (most recent call last):
  File "/home/ada/x.py", line 1, in <module>
    raise RuntimeError(token)
RuntimeError: {token} was refused
"""
    (folder.logs / "job-7.out").write_text(log, "utf-8")
    assert main([str(folder.root), "1"]) == 0
    ((_, sent),) = receiver.got
    assert sent["event"] == "failure" and sent["text"].startswith("mine failed at step 3 of 10: ")
    assert "*** was refused" in sent["why"] and token not in json.dumps(sent)


def test_a_cancelled_run_is_no_failure(folder: RunFolder, receiver: Any) -> None:
    folder.cancelled_file.touch()
    main([str(folder.root), "143"])
    assert receiver.got[0][1]["text"] == "mine was cancelled at step 3 of 10"


@pytest.mark.parametrize("answer", [302, 404, 501])
def test_a_refusal_is_a_line_without_the_address(
    folder: RunFolder, receiver: Any, capsys: pytest.CaptureFixture[str], answer: int
) -> None:
    receiver.answer = answer
    assert main([str(folder.root), "0"]) == 0
    assert len(receiver.got) == 1, "a redirect is not followed"
    assert capsys.readouterr().err == f"hpclaunch: the webhook was not told: HTTP {answer}\n"


def test_a_slow_receiver_is_left_alone(receiver: Any) -> None:
    receiver.slow_s = 3.0
    started = time.monotonic()
    with pytest.raises(OSError):
        post(webhook_url(), {}, timeout=0.2)
    assert time.monotonic() - started < 2.0


def test_a_dead_receiver_is_a_line_without_the_address(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:9/{SECRET}")
    assert main([str(folder.root), "0"]) == 0
    message = capsys.readouterr().err
    assert message.startswith("hpclaunch: the webhook was not told: ") and SECRET not in message


def test_the_address_is_in_a_file_that_only_its_owner_may_read(tmp_path: Path) -> None:
    variables = {"XDG_CONFIG_HOME": str(tmp_path), VARIABLE: f"https://chat.example/{SECRET}"}
    assert webhook_url(variables) == variables[VARIABLE]
    with pytest.raises(UserError, match="there is no address to post to"):
        webhook_url(variables, inherited=False)
    path = webhook_file(variables)
    path.parent.mkdir()
    path.write_text("https://other.example/x\n", "utf-8")
    path.chmod(0o640)
    with pytest.raises(UserError, match="others may read"):
        webhook_url(variables, inherited=False)
    path.chmod(0o600)
    assert webhook_url(variables, inherited=False) == "https://other.example/x"


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", f"chat.example/{SECRET}", "https://me:pw@chat.example/x", "http://"],
)
def test_what_is_no_address_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        webhook_url({"XDG_CONFIG_HOME": str(tmp_path), VARIABLE: url})
    assert url not in str(caught.value)
