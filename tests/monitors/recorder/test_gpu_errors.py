"""Errors of GPUs: Xid, ECC, rows of memory; who holds a GPU's memory. Over the stand-in NVML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitors.analysis.analysis import analyse_folder
from monitors.recorder.devices.processes import Processes
from monitors.records import Note, Tick
from tests.monitors.running import Probe, end, of_kind, probe, start_sidecar, wait_for_ticks

ECC = ("ecc_corrected", "ecc_uncorrected", "ecc_corrected_ever", "ecc_uncorrected_ever")
ROWS = ("rows_remapped", "remap_pending", "remap_failed")


def column(found: Probe, gpu: int, name: str) -> list[Any]:
    return [getattr(tick[gpu], name) for tick in found.ticks]


def asked(found: Probe, gpu: int, name: str) -> list[int]:
    return [n for n, value in enumerate(column(found, gpu, name)) if value is not None]


@pytest.mark.parametrize("copies", ["0", "1"])
def test_an_xid_is_noted_and_counted_where_it_happened(
    tmp_path: Path, fake_nvml: Path, copies: str
) -> None:
    out = tmp_path / "metrics"
    env = {"FAKE_NVML_XIDS": "600:1:79,700:1:48,800:0:31", "FAKE_NVML_COPIES": copies}
    process = start_sidecar(out, library=fake_nvml, **env)
    ticks = wait_for_ticks(process, out, 25)
    assert end(process) < 1, "the thread that waits for errors does not hold up the end"
    notes = [note.text for note in of_kind(out, Note)]
    assert notes == ["GPU 1: Xid 79", "GPU 1: Xid 48", "GPU 0: Xid 31"]
    for gpu, count in ((0, 1), (1, 2)):
        told = [tick.gpus[gpu].xid_errors for tick in ticks if tick.gpus]
        known = [value for value in told if value is not None]
        assert known == sorted(known), "a count only grows"
        assert (told[0], known[-1]) == (0, count)


def test_the_error_before_a_driver_hangs_is_noted(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    env = {"FAKE_NVML_BLOCK": "nvmlDeviceGetPowerUsage", "FAKE_NVML_BLOCK_AFTER": "4"}
    process = start_sidecar(out, library=fake_nvml, FAKE_NVML_XIDS="1000:1:79", **env)
    ticks = wait_for_ticks(process, out, 14)
    assert end(process) < 1
    assert [tick.gpus is None for tick in ticks][:4] == [False, False, True, True]
    notes = [note.text for note in of_kind(out, Note)]
    assert sorted(notes)[0] == "GPU 1: Xid 79"
    assert len(notes) == 2, "that, and that the GPUs do not answer"


def test_an_xid_is_the_verdict(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out, library=fake_nvml, FAKE_NVML_XIDS="600:1:79")
    wait_for_ticks(process, out, 15)
    end(process)
    found = analyse_folder(out)
    assert found.findings[0].key == "errors"
    assert found.verdict.startswith("n1 GPU 1 ")


@pytest.mark.parametrize("refused", ["nvmlDeviceRegisterEvents", "nvmlEventSetCreate"])
def test_a_refused_registration_is_no_problem(fake_nvml: Path, refused: str) -> None:
    found = probe(fake_nvml, ticks=2, FAKE_NVML_CODES=f"{refused}=4", FAKE_NVML_XIDS="0:0:79")
    assert found.notes == []
    assert column(found, 0, "xid_errors") == [None, None]
    assert column(found, 0, "power_w") == [100, 100]


def test_a_storm_of_errors_is_counted_and_told_briefly(fake_nvml: Path) -> None:
    storm = ",".join(["1:0:63"] * 120)
    found = probe(fake_nvml, ticks=31, pause_s=0.03, FAKE_NVML_XIDS=storm)
    texts = ["GPU 0: Xid 63", "GPU 0: Xid 63, 10 times so far", "GPU 0: Xid 63, 100 times so far"]
    assert found.notes == texts
    assert found.ticks[30][0].xid_errors == 120


def test_where_errors_can_no_longer_be_waited_for_their_number_is_unknown(fake_nvml: Path) -> None:
    codes = "nvmlEventSetWait_v2=13"
    found = probe(fake_nvml, ticks=31, pause_s=0.01, FAKE_NVML_CODES=codes)
    assert column(found, 0, "xid_errors")[30] is None
    assert found.ticks[30][0].ecc_corrected == 3, "that was asked"


def test_errors_of_a_divided_gpu_are_those_of_its_parts(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=31, pause_s=0.02, FAKE_NVML_MIG="2", FAKE_NVML_XIDS="100:1:94")
    assert found.notes == ["GPU 2 and GPU 3: Xid 94"]
    counts = [column(found, gpu, "xid_errors") for gpu in range(4)]
    assert [max(n for n in told if n is not None) for told in counts] == [0, 0, 1, 1]


def test_memory_errors_are_asked_now_and_then(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=61)
    first = found.ticks[0][1]
    assert [getattr(first, name) for name in (*ECC, *ROWS)] == [3, 1, 13, 11, 4, 0, 0]
    for name in (*ECC, *ROWS, "processes", "xid_errors"):
        assert asked(found, 0, name) == [0, 30, 60]
        assert asked(found, 1, name) == [0, 29, 59]
    assert found.notes == [], "what the card counted before the job is none of its errors"


def test_uncorrected_errors_that_come_are_noted(fake_nvml: Path) -> None:
    found = probe(fake_nvml, ticks=91, FAKE_NVML_ECC="1:2:3")
    assert found.notes == ["GPU 1: 3 uncorrected ECC errors"]
    assert [value for value in column(found, 1, "ecc_uncorrected") if value] == [1, 1, 4, 4]
    assert {value for value in column(found, 0, "ecc_uncorrected") if value} == {1}


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("pending", "GPU 0: a row of its memory waits to be remapped: it needs a reset"),
        ("failed", "GPU 0: a row of its memory could not be remapped"),
    ],
)
def test_a_row_that_waits_or_failed_is_noted_once(fake_nvml: Path, how: str, text: str) -> None:
    found = probe(fake_nvml, ticks=61, FAKE_NVML_REMAP=how)
    assert found.notes == [text]
    assert found.ticks[0][0].remap_pending == int(how == "pending")
    assert found.ticks[0][0].remap_failed == int(how == "failed")


def test_a_card_without_ecc_has_no_counts(fake_nvml: Path) -> None:
    refused = "nvmlDeviceGetTotalEccErrors,nvmlDeviceGetRemappedRows"
    found = probe(fake_nvml, ticks=31, FAKE_NVML_UNSUPPORTED=refused)
    assert all(asked(found, 0, name) == [] for name in (*ECC, *ROWS))
    assert found.notes == []


def test_memory_by_process(fake_nvml: Path) -> None:
    found = probe(fake_nvml, FAKE_NVML_PIDS="0:4000001:1000,0:4000002:3000,1:4000003:-1")
    first, second = found.ticks[0]
    assert (first.processes, first.processes_mib, first.largest_process_mib) == (2, 4000, 3000)
    assert first.strangers_mib is None, "not told of processes that cannot be seen"
    assert (second.processes, second.processes_mib) == (1, None), "held memory was not told"
    none = probe(fake_nvml).ticks[0][0]
    assert (none.processes, none.processes_mib, none.largest_process_mib) == (0, 0, None)


class _FakeQuery:
    """Stands where NVML's answers come in."""

    def __init__(self, **held: int) -> None:
        self._held = {int(pid[1:]): mib << 20 for pid, mib in held.items()}
        self.notes: list[str] = []

    def call(self, *_: Any) -> Any:
        kind = type("Process", (), {})
        found = []
        for pid, used in self._held.items():
            process = kind()
            process.pid, process.usedGpuMemory = pid, used
            found.append(process)
        return found

    def note(self, text: str) -> None:
        self.notes.append(text)


def proc(folder: Path, jobs: dict[str, str], namespace: int = 4026531836) -> Path:
    for name, cgroup in jobs.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "cgroup").write_text(cgroup)
    (folder / "self/ns").mkdir()
    (folder / "self/ns/pid").symlink_to(f"pid:[{namespace}]")
    return folder


def slurm(job: int, group: str = "job_{}") -> str:
    return f"0::/system.slice/slurmstepd.scope/{group.format(job)}/step_0/user/task_0\n"


@pytest.mark.parametrize("group", ["job_{}", "sCPHM8GZ5NK7{:02}"], ids=["22.05", "26.05"])
def test_processes_of_other_jobs_are_told(tmp_path: Path, group: str) -> None:
    query = _FakeQuery(p10=1000, p11=500)
    groups = {name: slurm(job, group) for name, job in (("self", 7), ("10", 7), ("11", 77))}
    root = proc(tmp_path, groups)
    watch = Processes(query, root)  # type: ignore[arg-type]  # a stand-in
    for _ in range(2):
        values = watch.sample()
    assert values["strangers_mib"] == 500
    assert query.notes == ["process 11, not of this job, holds 500 MiB"]


def test_an_older_cgroup_names_the_job_too(tmp_path: Path) -> None:
    old = "3:memory:/slurm/uid_0/job_{}/step_0\n1:cpuset:/slurm/uid_0/job_{}/step_0\n"
    root = proc(tmp_path, {"self": old.format(7, 7), "10": old.format(7, 7), "11": "0::/\n"})
    assert Processes(_FakeQuery(p10=1), root).sample()["strangers_mib"] == 0  # type: ignore[arg-type]  # a stand-in
    assert Processes(_FakeQuery(p11=2), root).sample()["strangers_mib"] == 2  # type: ignore[arg-type]  # a stand-in


def test_in_a_container_numbers_of_processes_mean_nothing(tmp_path: Path) -> None:
    root = proc(tmp_path, {"self": slurm(7), "10": slurm(8)}, 4026532999)
    query = _FakeQuery(p10=1000)
    assert "strangers_mib" not in Processes(query, root).sample()  # type: ignore[arg-type]  # a stand-in
    assert query.notes == []


def test_ticks_hold_the_counts_in_the_file(tmp_path: Path, fake_nvml: Path) -> None:
    out = tmp_path / "metrics"
    process = start_sidecar(out, library=fake_nvml)
    wait_for_ticks(process, out, 3)
    end(process)
    first = of_kind(out, Tick)[0].gpus[0]
    assert (first.ecc_uncorrected, first.rows_remapped, first.processes) == (1, 3, 0)
    assert isinstance(first.ecc_uncorrected, int)
