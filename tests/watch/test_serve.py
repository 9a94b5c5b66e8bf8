"""`hpclaunch watch --serve`, asked by a real HTTP client and read by Prometheus' own parser."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from hpclaunch.errors import UserError
from hpclaunch.watch.http_access import read_or_create_token
from tests.cli.running import Home
from tests.watch.alive import Alive

Make = Callable[..., Alive]


@contextmanager
def served(home: Home, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve the newest run; gives the process and where it serves."""
    process = home.start("watch", *(words or ("--serve", "0")))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"at (http://\S+)/metrics$", line)
        assert match, line
        yield process, match.group(1)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def shared_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a run is served whose content does not matter."""
    home = Home(tmp_path_factory.mktemp("home"))
    Alive(home.runs / "shared").begin(seconds=1)
    with served(home) as (_, url):
        yield url


def ask(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        return answer.read().decode(), answer.headers["Content-Type"]


def families(url: str) -> dict[str, Any]:
    text, kind = ask(f"{url}/metrics")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    read: Callable[[str], Any] = parser.text_string_to_metric_families
    return {family.name: family for family in read(text)}


def of(found: dict[str, Any], name: str) -> dict[tuple[str, ...], float]:
    """A family's samples by the values of their labels."""
    return {tuple(s.labels.values()): s.value for s in found[name].samples}


def test_everything_has_its_name_type_and_unit(home: Home, make: Make) -> None:
    run = make(nodes=2, gpus=2)
    run.train(12)
    run.begin(seconds=20)
    with served(home) as (_, url):
        assert url.startswith("http://127.0.0.1:")
        found = families(url)
        assert of(found, "job_gpu_memory_used_bytes")["n2", "1", "GPU-0001-1"] > 60 * 2**30
        assert 0.9 < of(found, "job_gpu_sm_ratio")["n1", "0", "GPU-0000-0"] <= 1
        assert of(found, "job_gpu_power_limit_watts")["n1", "0", "GPU-0000-0"] == 400
        assert of(found, "job_node_network_received_bytes")["n1",] == 20 * 120_000_000
        network = found["job_node_network_received_bytes"]
        assert (network.type, network.unit) == ("counter", "bytes")
        assert of(found, "job_training_step") == {(): 12}
        assert of(found, "job_training_tokens_per_second") == {(): 8192}
        assert of(found, "job_state")["running",] == 1
        assert sum(of(found, "job_state").values()) == 1
        assert list(of(found, "job")) == [("one",)]
        assert all(family.documentation and family.type != "unknown" for family in found.values())
        assert "job_node_swap_moved_bytes_per_second" not in found, "it was never sampled"
        assert "job_gpu_energy_joules" not in found
        run.train(1)
        assert of(families(url), "job_training_step") == {(): 13}, "read when asked"


def test_a_silent_node_has_no_figures(home: Home, make: Make) -> None:
    run = make(nodes=2, gpus=1)
    run.begin(seconds=20, until=15)
    for _ in range(15):
        run.tick(silent=("n2",))
    with served(home) as (_, url):
        found = families(url)
        assert of(found, "job_node_up") == {("n1",): 1, ("n2",): 0}
        assert list(of(found, "job_gpu_power_watts")) == [("n1", "0", "GPU-0000-0")]
        assert ("n2",) in of(found, "job_node_last_sample_timestamp_seconds")


def test_damage_is_left_out_and_the_page_stays_whole(home: Home, make: Make) -> None:
    run = make(nodes=1, gpus=1)
    run.begin(seconds=3)
    path = run.folder.metrics / "n1.samples.jsonl"
    last = path.read_text().splitlines()[-1]
    broken = re.sub(r'"net_rx_bytes":\d+', '"net_rx_bytes":-5', last)
    broken = re.sub(r'("gpus":\[)(.*)\]', r"\1\2,\2]", broken).replace('"mono":1003', '"mono":1004')
    path.write_text(path.read_text() + broken + "\n")
    (run.folder.metrics / 'evil"\\.samples.jsonl').write_text(path.read_text())
    run.folder.nodes.unlink()
    with served(home) as (_, url):
        found = families(url)
        assert len(of(found, "job_gpu_power_watts")) == 2
        assert "job_node_network_received_bytes" not in found


def test_the_other_pages(home: Home, make: Make) -> None:
    make().begin(seconds=1)
    with served(home) as (_, url):
        text, kind = ask(url + "/")
        assert kind.startswith("text/plain")
        assert "the run one (running)" in text
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(url + "/etc/passwd")
        assert caught.value.code == 404
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request("HEAD", "/metrics")
        assert connection.getresponse().read() == b""
        connection.request("POST", "/metrics", b"{}")
        assert connection.getresponse().status == 501, "it only shows"


def test_slow_clients_keep_nobody_waiting(home: Home, make: Make) -> None:
    from hpclaunch.watch.http_server import MOST_CLIENTS

    make().begin(seconds=1)
    with served(home) as (process, url):
        host, _, port = url.removeprefix("http://").rpartition(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(MOST_CLIENTS + 20)]
        for client in slow:
            with contextlib.suppress(OSError):
                client.sendall(b"GET /metr")
        assert all(families(url) for _ in range(3))
        extra = [socket.create_connection((host, int(port))) for _ in range(20)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, "and they keep it from no end"
        for client in (*slow, *extra):
            client.close()


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("localhost", 200), ("127.0.0.1:9400", 200), ("[::1]:9400", 200), ("::1", 200),
        (socket.gethostname(), 200), ("evil.example.com", 421), ("evil.example.com:9400", 421),
        ("localhost.evil.example.com", 421), ("127.0.0.1.evil.example.com", 421), ("", 421),
    ],
)  # fmt: skip
def test_a_page_elsewhere_cannot_read_it(shared_url: str, name: str, status: int) -> None:
    """Whose name was made to resolve to this machine."""
    request = urllib.request.Request(f"{shared_url}/metrics", headers={"Host": name})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            assert answer.status == status
    except urllib.error.HTTPError as error:
        assert error.code == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order(home: Home, make: Make, number: signal.Signals) -> None:
    make().begin(seconds=1)
    with served(home) as (process, url):
        families(url)
        began = time.monotonic()
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
        assert (process.returncode, out) == (0, "hpclaunch: no longer serving\n")
        assert time.monotonic() - began < 3


def test_beyond_this_machine_a_token_is_needed(home: Home, make: Make) -> None:
    make().begin(seconds=1)
    with served(home, "--serve", "0.0.0.0:0") as (process, url):
        assert process.stdout is not None
        match = re.search(r"the token in (\S+) ", process.stdout.readline())
        assert match
        file = Path(match.group(1))
        assert file.stat().st_mode & 0o777 == 0o600
        here = url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        for header in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}):
            request = urllib.request.Request(f"{here}/metrics", headers=header)  # noqa: S310
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)  # noqa: S310
            assert refused.value.code == 401
        header = {"Authorization": f"Bearer {file.read_text().strip()}"}
        request = urllib.request.Request(f"{here}/metrics", headers=header)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            assert answer.read().endswith(b"# EOF\n")


def test_the_token_stays_and_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "token"
    token = read_or_create_token(path)
    assert read_or_create_token(path) == token
    path.chmod(0o640)
    with pytest.raises(UserError, match="others may read"):
        read_or_create_token(path)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="cannot be used"):
        read_or_create_token(path)
    path.unlink()
    path.touch(0o600)
    with pytest.raises(UserError, match="holds no token"):
        read_or_create_token(path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--serve many", "--serve many: no port"),
        ("--serve 65536", "no port"),
        ("--serve ::1:9400", "goes in brackets"),
        ("--serve 203.0.113.7:9400", "cannot be had"),
        ("--serve nosuch.invalid:9400", "cannot be had"),
        ("--serve 0 --once", "--serve excludes --once and --json"),
        ("--interval 0", "--interval 0.0: 0.2 to 3600 seconds"),
        ("--interval nan", "--interval nan"),
        ("--interval soon", "not a valid float"),
        ("nosuch", "no run called 'nosuch'"),
    ],
)
def test_bad_input_is_one_line(home: Home, make: Make, words: str, expected: str) -> None:
    make().begin(seconds=1)
    done = home.call("watch", *words.split())
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert expected in done.err


def test_a_port_that_is_taken_is_one_line(home: Home, make: Make) -> None:
    make().begin(seconds=1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = home.call("watch", "--serve", str(port))
    assert (done.code, done.err) == (
        2,
        f"hpclaunch: --serve: 127.0.0.1:{port} is taken; another port; 0 takes any that is free\n",
    )


def test_a_run_that_is_over_is_not_served(home: Home, make: Make) -> None:
    run = make()
    run.begin(seconds=1)
    run.finish()
    done = home.call("watch", "--serve", "0")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "run one is over: done; hpclaunch export one --to openmetrics" in done.err
