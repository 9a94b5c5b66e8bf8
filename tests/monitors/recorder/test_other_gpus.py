"""GPUs of AMD's and Intel's, over recorded trees of the kernel's files; and which is chosen."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from monitors.recorder.devices import nvml
from monitors.recorder.devices.detect import AnySource
from monitors.recorder.devices.sysfs import SysfsSource
from monitors.recorder.interfaces import DeviceError
from monitors.records import GpuInfo, GpuSample
from tests.monitors.trees import build

AMD = "sys/devices/pci0000:00/0000:05:00.0"
XE = "sys/devices/pci0000:26/0000:29:00.0"
FLEX = "sys/devices/pci0000:4b/0000:4e:00.0"


@pytest.fixture
def amd(tmp_path: Path) -> Path:
    return build("amd", tmp_path)


@pytest.fixture
def intel(tmp_path: Path) -> Path:
    return build("intel", tmp_path)


def no_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "nv", None)
    monkeypatch.setattr(nvml, "NO_BINDING", "no binding here")


def test_amd_gpus_in_the_order_of_the_bus(amd: Path) -> None:
    assert SysfsSource(amd).open() == (
        GpuInfo(
            0, "GPU-7e1a2b3c4d5e6f70", "AMD Instinct MI300X OAM", "0000:05:00.0", 196592.0, 750.0
        ),
        GpuInfo(1, None, "AMD GPU 0x74a1", "0000:75:00.0", 196592.0, None),
    )


def test_what_amd_tells(amd: Path) -> None:
    source = SysfsSource(amd)
    source.open()
    first, second = source.sample(0)
    assert first == GpuSample(
        0,
        power_w=612,
        temperature_c=71,
        memory_temperature_c=58,
        sm_pct=97,
        mem_pct=41,
        memory_clock_mhz=1300,
        sm_clock_mhz=2100,
        memory_used_mib=98304.0,
        ecc_corrected=12,
        ecc_uncorrected=1,
    )
    assert second == GpuSample(1, power_w=139, temperature_c=39, sm_pct=3, memory_used_mib=274.0), (
        "an average of power comes before a reading, and what no file tells is unknown"
    )
    assert source.notes() == ()


def test_values_are_read_anew(amd: Path) -> None:
    source = SysfsSource(amd)
    source.open()
    source.sample(0)
    (amd / AMD / "gpu_busy_percent").write_text("5\n")
    (amd / AMD / "mem_info_vram_used").write_text("garbage\n")
    first, _ = source.sample(1)
    assert (first.sm_pct, first.memory_used_mib) == (5, None)


def test_errors_that_come_are_noted(amd: Path) -> None:
    source = SysfsSource(amd)
    source.open()
    source.sample(0)
    (amd / AMD / "ras/umc_err_count").write_text("ue: 3\nce: 12\n")
    counts = [source.sample(n)[0].ecc_uncorrected for n in range(1, 31)]
    assert counts == [None] * 29 + [3]
    assert source.notes() == ("GPU 0: 2 uncorrected ECC errors",)


def test_a_gpu_that_another_job_has_is_not_told(amd: Path) -> None:
    (amd / "dev/dri/renderD128").unlink()
    source = SysfsSource(amd)
    assert [info.pci_bus for info in source.open()] == ["0000:75:00.0"]
    assert [sample.index for sample in source.sample(0)] == [0]


def test_a_processors_own_picture_is_no_gpu(amd: Path) -> None:
    (amd / AMD / "mem_info_vram_total").write_text("536870912\n")
    assert [info.pci_bus for info in SysfsSource(amd).open()] == ["0000:75:00.0"]


def test_a_gpu_whose_files_no_longer_answer_is_noted_once(amd: Path) -> None:
    source = SysfsSource(amd)
    source.open()
    source.sample(0)
    for name in ("gpu_busy_percent", "mem_info_vram_used", "hwmon/hwmon4/power1_input"):
        (amd / AMD / name).write_text("")
    for n in range(1, 4):
        assert source.sample(n)[0].power_w is None
    assert source.notes() == ("GPU 0 is no longer sampled: the files of its driver do not answer",)


def test_intel_gpus(intel: Path) -> None:
    assert SysfsSource(intel).open() == (
        GpuInfo(0, "GPU-0000:29:00.0", "Intel GPU 0x0bd5", "0000:29:00.0", 131072.0, 600.0),
        GpuInfo(1, "GPU-0000:4e:00.0", "Intel GPU 0x56c0", "0000:4e:00.0", None, None),
    ), "the processor's own has no sensors and no memory"


def add(path: Path, more: float) -> None:
    path.write_text(f"{int(path.read_text()) + round(more)}\n")


def test_what_intel_tells(intel: Path) -> None:
    source = SysfsSource(intel)
    source.open()
    begin = time.monotonic()
    time.sleep(0.3)
    passed = time.monotonic() - begin
    add(intel / XE / "hwmon/hwmon6/energy1_input", 450e6 * passed)
    add(intel / XE / "tile0/gt0/gtidle/idle_residency_ms", 100 * passed)
    add(intel / XE / "tile1/gt1/gtidle/idle_residency_ms", 300 * passed)
    add(intel / FLEX / "hwmon/hwmon7/energy1_input", 90e6 * passed)
    add(intel / "sys/class/drm/card2/gt/gt0/rc6_residency_ms", 2000 * passed)
    first, second = source.sample(0)
    assert first.power_w == pytest.approx(450, rel=0.1)
    assert first.sm_pct == pytest.approx(80, abs=3), "idle a tenth and three tenths of the time"
    assert (first.temperature_c, first.memory_temperature_c) == (63, 55)
    assert (first.sm_clock_mhz, first.throttle) == (1550, 4)
    assert first.energy_j == pytest.approx(5000 + 450 * passed, abs=1)
    assert (first.memory_used_mib, first.mem_pct) == (None, None)
    assert second.power_w == pytest.approx(90, rel=0.1)
    assert (second.sm_pct, second.temperature_c, second.throttle) == (0, 48, 0x20)
    assert source.notes() == ()


def test_a_counter_that_was_reset_tells_nothing(intel: Path) -> None:
    source = SysfsSource(intel)
    source.open()
    (intel / XE / "hwmon/hwmon6/energy1_input").write_text("5\n")
    for tile in ("tile0/gt0", "tile1/gt1"):
        (intel / XE / tile / "gtidle/idle_residency_ms").write_text("0\n")
    time.sleep(0.01)
    first, _ = source.sample(0)
    assert (first.power_w, first.sm_pct) == (None, None)


def test_a_node_without_a_gpu(tmp_path: Path) -> None:
    assert SysfsSource(tmp_path).open() == ()
    (tmp_path / "sys/class/drm/card0/device").mkdir(parents=True)
    assert SysfsSource(tmp_path).open() == ()


def test_others_are_chosen_where_nvidia_has_none(
    amd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_nvidia(monkeypatch)
    source = AnySource(amd)
    assert [info.pci_bus for info in source.open()] == ["0000:05:00.0", "0000:75:00.0"]
    assert source.sample(0)[0].sm_pct == 97
    assert source.notes() == ()


def test_without_any_the_reason_is_nvidias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_nvidia(monkeypatch)
    with pytest.raises(DeviceError, match="no binding here"):
        AnySource(tmp_path).open()


@pytest.mark.parametrize("name", ["amd", "intel"])
@pytest.mark.parametrize(
    "garbage", [b"", b"\n", b"\xff\0\xfe", b"-9", b"9" * 5000, b"1e9\n", b"NaN"]
)
def test_any_file_may_hold_anything(tmp_path: Path, name: str, garbage: bytes) -> None:
    root = build(name, tmp_path)
    files = [path for path in (root / "sys").rglob("*") if path.is_file()]
    whole = SysfsSource(root)
    whole.open()
    for path in files:
        path.write_bytes(garbage)
    whole.sample(0)
    whole.notes()
    broken = SysfsSource(root)
    broken.open()
    broken.sample(0)
