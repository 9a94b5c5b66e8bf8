"""A sidecar that cannot do its work says so in one line at most, and records what it can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from monitors.records import End, Note, Start
from tests.monitors.running import (
    ROOT,
    end,
    environment,
    of_kind,
    start_sidecar,
    wait_for_ticks,
)


def test_without_the_binding_the_host_is_recorded(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    bare = (sys.executable, "-S", "-m", "monitors.recorder")  # -S: no site-packages
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "psutil").symlink_to(Path(psutil.__file__).parent)
    process = subprocess.Popen(
        [*bare, "--out", str(out), "--node", "n1", "--interval", "0.1"],
        env=environment(fake_nvml, {"PYTHONPATH": f"{ROOT}:{packages}"}),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_ticks(process, out, 2)
    end(process)
    (head,) = of_kind(out, Start)
    assert head.gpu_problem == "the Python package nvidia-ml-py is not installed"


@pytest.mark.parametrize("text", ["raise RuntimeError('wrong build')", "from ctypes import nope"])
def test_a_broken_binding_costs_only_the_gpus(tmp_path: Path, text: str) -> None:
    (tmp_path / "pynvml.py").write_text(text + "\n")
    out = tmp_path / "metrics"
    process = start_sidecar(out, PYTHONPATH=f"{tmp_path}:{ROOT}")
    wait_for_ticks(process, out, 2)
    end(process)
    (head,) = of_kind(out, Start)
    assert head.gpu_problem.startswith("pynvml cannot be imported: ")


def test_a_binding_too_old_for_a_call_costs_only_the_gpus(tmp_path: Path, fake_nvml: Path) -> None:
    import pynvml

    source = Path(pynvml.__file__).read_text().replace("nvmlDeviceGetOfaUtilization", "absent")
    (tmp_path / "pynvml.py").write_text(source)
    out = tmp_path / "metrics"
    process = start_sidecar(out, library=fake_nvml, PYTHONPATH=f"{tmp_path}:{ROOT}")
    ticks = wait_for_ticks(process, out, 3)
    end(process)
    (note,) = of_kind(out, Note)
    assert "nvmlDeviceGetOfaUtilization" in note.text
    assert all(tick.host.load1 is not None for tick in ticks)


@pytest.mark.parametrize("suffix", ["samples.jsonl", "folder"])
def test_a_record_that_cannot_be_opened_is_one_line(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "metrics" if suffix != "folder" else Path("/proc/no/such/folder")
    if suffix != "folder":
        (out / f"n1.{suffix}").mkdir(parents=True)
    command = [sys.executable, "-m", "monitors.recorder", "--out", str(out), "--node", "n1"]
    done = subprocess.run(
        command,
        env=environment(None, {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("sidecar: cannot record into ")
    assert done.stderr.count("\n") == 1


def test_a_fault_of_its_own_is_one_line_and_ends_the_record(tmp_path: Path) -> None:
    out = tmp_path / "metrics"
    program = (
        "import sys\n"
        "from monitors.recorder.procfs import HostFiles\n"
        "from monitors.recorder.sidecar import main\n"
        "whole, left = HostFiles.read, [3]\n"
        "def read(self):\n"
        "    left[0] -= 1\n"
        "    return whole(self) if left[0] else 1 // 0\n"
        "HostFiles.read = read\n"
        f"sys.exit(main(['--out', {str(out)!r}, '--node', 'n1', '--interval', '0.1']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(None, {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ZeroDivisionError" in done.stderr
    (foot,) = of_kind(out, End)
    assert foot.reason.startswith("failed: ZeroDivisionError")
    assert foot.ticks == 1
