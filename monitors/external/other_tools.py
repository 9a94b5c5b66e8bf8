"""Logs that are known by their looks but not read, and the command that would do instead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_DMON = "nvidia-smi dmon -s pucvmet -o DT > gpu.txt"
_VMSTAT = "vmstat -t -y 1 > cpu.txt"
_MONITOR = "hpclaunch monitor --out rec -- ./train.sh"


@dataclass(frozen=True)
class OtherTool:
    """A program whose log cannot be used."""

    name: str
    why: str
    """What is wrong with it, as the end of a sentence; may be empty."""
    command: str
    """The command whose log can be used; empty where this one can be."""


def _of(name: str, why: str, command: str, *patterns: str) -> tuple[OtherTool, re.Pattern[str]]:
    return OtherTool(name, why, command), re.compile("|".join(patterns), re.IGNORECASE)


_FILES = (
    _of(
        "nvidia-smi pmon",
        "which has a row for each process, not for each GPU",
        _DMON,
        r"^#.*\bgpu\b.*\bpid\b",
    ),
    _of(
        "nvidia-smi --query-compute-apps",
        "which has a row for each process, not for each GPU",
        _DMON,
        r"^[^|]*\bpid\b\s*,.*(used_(gpu_)?memory|process_name)",
        r"^[^|]*(used_(gpu_)?memory|process_name|gpu_uuid).*,\s*pid\b",
    ),
    _of(
        "nvidia-smi stats",
        "which has one value in a line",
        _DMON,
        r"^\s*\d+\s*,\s*(procClk|memClk|gpuUtil|memUtil|pwrDraw|temp|violPwr|violThm)\s*,",
    ),
    _of(
        "nvidia-smi -q",
        "which shows one moment",
        _DMON,
        r"^=+\s*NVSMI LOG\s*=+",
        r"<nvidia_smi_log>",
        r"nvsmi_device",
    ),
    _of("nvidia-smi -L", "which lists the GPUs alone", _DMON, r"^GPU \d+: .*\(UUID: "),
    _of(
        "nvidia-smi topo",
        "which shows how the GPUs are connected",
        _DMON,
        r"^\s+GPU0\s.*(CPU Affinity|GPU1)",
    ),
    _of(
        "nvidia-smi without options",
        "whose tables are made for a screen",
        _DMON,
        r"^\|\s*NVIDIA-SMI\s+\d",
        r"^\|\s*Fan\s+Temp\s+Perf",
        r"^Every \d.*nvidia-smi",
    ),
    _of(
        "nvidia-smi --format=csv,noheader",
        "which leaves open what the columns are: put the header line first, or record it again",
        _DMON,
        r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{3}\s*,",
        r"^(?=.*\d\s(MiB|W|%|MHz)\s*(,|$))[^#|:\"]*,",
    ),
    _of("nvtop", "", _DMON, r'"device_name"\s*:', r'"gpu_clock"\s*:\s*"', r"\bnvtop\b"),
    _of("gpustat", "", _DMON, r"^\[\d+\] .*\|.*%.*\|.*/.*MB", r'"query_time"\s*:'),
    _of("nvitop", "", _DMON, r"\bNVITOP\b"),
    _of(
        "dcgmi dmon", "", _DMON, r"^#\s*Entity\b", r"^GPU \d+\s+[\d.]+\s+[\d.N]", r"^\s*ID\s+GPUTL"
    ),
    _of(
        "dcgm-exporter or another source of Prometheus's",
        "",
        _DMON,
        r"^# (HELP|TYPE) \w+",
        r"^DCGM_FI_\w+",
    ),
    _of(
        "rocm-smi",
        "of AMD's",
        _MONITOR,
        r"ROC(m|k) System Management Interface",
        r"^=+ ?ROCm",
        r"^device\s*,.*(GPU use|Temperature \(Sensor|VRAM|Average Graphics)",
        r"^GPU\[\d+\]\s*:",
        r"^(DID|Device)\s+.*SCLK\s+MCLK",
        r'"card\d+"\s*:',
    ),
    _of(
        "amd-smi",
        "of AMD's",
        _MONITOR,
        r"^(timestamp\s*,\s*)?gpu\s*,.*(gfx|socket_power|hotspot|vram)",
        r"^\s*(TIMESTAMP\s+)?GPU\s+(XCP\s+)?(POWER|PVIOL|GFX)",
        r"^GPU: \d+\s*$",
        r"^\|\s*AMD-SMI\b",
    ),
    _of(
        "xpu-smi",
        "of Intel's",
        _MONITOR,
        r"^Timestamp\s*,\s*(DeviceId|TileId)",
        r"^\|\s*Device ID\s*\|",
    ),
    _of("intel_gpu_top", "of Intel's", _MONITOR, r"^\s*Freq MHz\s+IRQ", r"intel-gpu-top:"),
    _of("tegrastats", "", _MONITOR, r"\bRAM \d+/\d+MB .*\bGR3D_FREQ\b"),
    _of("sar", "", _VMSTAT, r"\bCPU\s+%usr\b.*%iowait\s+%steal\s+%irq\b"),
    _of("mpstat", "", _VMSTAT, r"\bCPU\s+%usr\b", r"\bCPU\s+minf\s+mjf\b"),
    _of("pidstat", "", _VMSTAT, r"\bUID\s+PID\s+%usr\b", r"\bUID\s+PID\b.*\b(Command)\b"),
    _of(
        "iostat", "", _VMSTAT, r"^avg-cpu:", r"^Device:?\s+.*\b(tps|r/s)\b", r"^\s*tty\s+.*\bcpu\b"
    ),
    _of(
        "sar",
        "",
        _VMSTAT,
        r"\bCPU\s+%user\b",
        r"\b(kbmemfree|kbswpfree|runq-sz|pgpgin/s|rxpck/s|proc/s|pswpin/s|bread/s|rd_sec/s)\b",
        r"^# ?hostname;interval;timestamp",
    ),
    _of(
        "dstat",
        "",
        _VMSTAT,
        r"-(total-)?cpu-usage-",
        r"\b(pcp-)?dstat\b.*\bCSV\b",
        r"total[ -]cpu[ -]usage",
        r"^You did not select any stats",
        r"^\s*usr\s+sys\s+idl\s+wai\b",
        r"-{2,}system-{2,}.*-dsk/total-",
        r"-dsk/total-",
    ),
    _of("top", "", _VMSTAT, r"^top - \d\d:\d\d:\d\d", r"^\s*PID\s+USER\s+PR\s+NI\b"),
    _of("htop", "", _VMSTAT, r"\bLoad average:.*\bUptime:"),
    _of("ps", "", _VMSTAT, r"^\s*(USER\s+PID|PID\s+TTY|UID\s+PID|F S\s+UID)\b"),
    _of("free", "", _VMSTAT, r"^\s+total\s+used\s+free\b"),
    _of("uptime", "", _VMSTAT, r"\bup\b.*\bload averages?:"),
    _of("iotop", "", _VMSTAT, r"\bTotal DISK READ\b"),
    _of("nmon", "", _VMSTAT, r"^AAA,progname,"),
    _of("collectl", "", _VMSTAT, r"^#<-+CPU", r"^waiting for \d+ second sample"),
    _of("atop", "", _VMSTAT, r"^ATOP - "),
    _of("perf stat", "", _VMSTAT, r"Performance counter stats for"),
    _of(
        "vmstat -d",
        "which is about disks",
        _VMSTAT,
        r"^\s*disk-\s*-+reads-+",
        r"^\s*total merged sectors",
    ),
    _of(
        "vmstat -D",
        "which is about disks",
        _VMSTAT,
        r"^\s*\d+ (disks|partitions|merged reads)\s*$",
    ),
    _of(
        "vmstat -p",
        "which is about one partition",
        _VMSTAT,
        r"^\S+\s+reads\s+(read sectors|sectors)\s+writes\b",
    ),
    _of("vmstat -m", "which is about slabs", _VMSTAT, r"^Cache\s+Num\s+Total\s+Size\s+Pages"),
    _of("vmstat -s", "which shows one moment", _VMSTAT, r"^\s*\d+ [KMkm]? ?total memory\s*$"),
    _of("vmstat -f", "which counts forks alone", _VMSTAT, r"^\s*\d+ forks\s*$"),
    _of("vmstat of macOS (vm_stat)", "", _VMSTAT, r"^Mach Virtual Memory Statistics"),
    _of("vmstat of FreeBSD", "", _VMSTAT, r"^\s*procs\s+memory\s+page\s+"),
    _of(
        "sar, mpstat, iostat or pidstat",
        "",
        _VMSTAT,
        r'^\s*\{?\s*"sysstat"\s*:',
        r"^Linux \S+ \(\S+\)\s.*\(\d+ CPU\)",
    ),
    _of(
        "nvidia-smi",
        "that failed",
        _DMON,
        r"^NVIDIA-SMI has failed",
        r"^Failed to initialize NVML",
        r"^No devices were found",
        r"^Unable to determine the device handle",
        r'^Field ".*" is not a valid field to query',
    ),
    _of(
        "an unknown program",
        "a table without a header: what its columns are cannot be known",
        _DMON,
        r"^\s*(-?\d+(\.\d+)?\s*,\s*)+-?\d+(\.\d+)?\s*$",
    ),
)
"""Most telling first: the first that fits any line of a file's head counts."""


_BINARY = (
    (b"\x96\xd5", OtherTool("sar", "in its own binary form", _VMSTAT)),
    (b"\x1f\x8b", OtherTool("gzip", "which packed it: unpack it with gunzip", "")),
    (b"\xfd7zXZ", OtherTool("xz", "which packed it: unpack it with unxz", "")),
    (b"\x28\xb5\x2f\xfd", OtherTool("zstd", "which packed it: unpack it with unzstd", "")),
)
"""Files that are no text, by their first bytes."""


def known_binary(begin: bytes) -> OtherTool | None:
    """Return which program wrote a file that begins with these bytes; None where unknown."""
    return next((tool for mark, tool in _BINARY if begin.startswith(mark)), None)


def known_tool(lines: Sequence[str]) -> OtherTool | None:
    """Return which program wrote a file whose first lines these are; None where unknown."""
    for tool, pattern in _FILES:
        if any(pattern.search(line) for line in lines):
            return tool
    return None
