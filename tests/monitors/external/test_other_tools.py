"""Logs that are not read are called by their names, with the command that would do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from monitors.analysis.analysis import analyse_files
from tests.monitors.external.logs import analysis
from tests.monitors.running import ROOT

SYSSTAT = "Linux 5.15.0-91-generic (n1) \t06/01/2026 \t_x86_64_\t(64 CPU)\n\n"
LOGS = {
    "nvidia-smi pmon": [
        "# gpu         pid   type     sm    mem    enc    dec    command \n"
        "# Idx           #    C/G      %      %      %      %    name \n"
        "    0      21001     C     60     30      -      -    python         \n",
        "#Date       Time        gpu        pid  type    sm   mem   enc   dec   command\n"
        "#YYYYMMDD   HH:MM:SS    Idx          #   C/G     %     %     %     %   name\n"
        " 20260601   11:27:00      0      21001     C    60    30     -     -   python\n",
        "#gpu, pid, type, fb, command\n#Idx, #, C/G, MB, name\n0, 21001, C, 400, python\n",
    ],
    "nvidia-smi --query-compute-apps": [
        "pid, process_name, used_gpu_memory [MiB]\n21001, python, 4443 MiB\n",
        "gpu_uuid, pid, used_memory [MiB]\nGPU-77, 21001, 4443 MiB\n",
    ],
    "nvidia-smi stats": ["0, procClk , 1717239600000123, 1410\n0, pwrDraw , 171723960000, 61\n"],
    "nvidia-smi -q": [
        "\n==============NVSMI LOG==============\n\nTimestamp : Mon Jun  1 11:27:00 2026\n",
        '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n',
    ],
    "nvidia-smi -L": ["GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c1c)\n"],
    "nvidia-smi topo": ["\tGPU0\tGPU1\tmlx5_0\tCPU Affinity\nGPU0\t X \tNV12\tPXB\t0-31\n"],
    "nvidia-smi without options": [
        "Mon Jun  1 11:27:00 2026       \n+-----------------------------------------+\n"
        "| NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: 12.2  |\n",
        "Every 1.0s: nvidia-smi                              n1: Mon Jun  1 11:27:00 2026\n",
    ],
    "nvidia-smi --format=csv,noheader": [
        "2026/06/01 11:27:00.177, 0, 97 %, 38803 MiB\n" * 3,
        "2026/06/01 11:27:00.177, 0, 97, 38803\n" * 3,
        "0, 97 %, 38803 MiB\n" * 3,
    ],
    "an unknown program, a table without a header": ["0, 97, 38803\n" * 3],
    "nvidia-smi, that failed": [
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        'Field "utilisation.gpu" is not a valid field to query.\n',
    ],
    "nvtop": ['[\n  {\n   "device_name": "NVIDIA A100",\n   "gpu_clock": "1410MHz"\n  }\n]\n'],
    "gpustat": ["[0] NVIDIA A100-SXM4-40GB | 61'C,  97 % | 38803 / 40960 MB | me(38803M)\n"],
    "dcgmi dmon": ["#Entity   GPUTL  POWER\nID               W\nGPU 0     97     301.250\n"],
    "rocm-smi": [
        "\n======================= ROCm System Management Interface =======================\n",
        "device,Temperature (Sensor edge) (C),GPU use (%)\ncard0,41.0,97\n",
        "GPU[0]\t\t: GPU use (%): 97\n",
    ],
    "amd-smi": ["timestamp,gpu,socket_power,gfx_clk\n1717239600,0,301,1410\n"],
    "xpu-smi": ["Timestamp, DeviceId, GPU Utilization (%), GPU Power (W)\n11:27:00, 0, 97, 301\n"],
    "sar": [
        SYSSTAT + "11:27:00 AM     CPU     %user     %nice   %system   %iowait    %steal     "
        "%idle\n11:27:01 AM     all      9.00      0.00      1.00      0.00      0.00     90.00\n",
        SYSSTAT + "11:27:00     CPU      %usr     %nice      %sys   %iowait    %steal      %irq "
        "    %soft    %guest    %gnice     %idle\n11:27:01     all      9.00\n",
        SYSSTAT + "11:27:00 AM kbmemfree   kbavail kbmemused  %memused\n11:27:01 AM 1 2 3 4\n",
        SYSSTAT + "11:27:00 AM   runq-sz  plist-sz   ldavg-1\n",
        "# hostname;interval;timestamp;CPU;%user;%nice\nn1;1;2026-06-01;-1;9.00;0.00\n",
    ],
    "mpstat": [
        SYSSTAT + "11:27:00 AM  CPU    %usr   %nice    %sys %iowait    %irq   %soft  %steal  "
        "%guest  %gnice   %idle\n11:27:01 AM  all    9.00    0.00    1.00    0.00\n"
    ],
    "pidstat": [SYSSTAT + "11:27:00 AM   UID       PID    %usr %system    %CPU   Command\n"],
    "iostat": [
        SYSSTAT + "avg-cpu:  %user   %nice %system %iowait  %steal   %idle\n           9.00\n",
        SYSSTAT + "Device             tps    kB_read/s    kB_wrtn/s\nsda               1.00\n",
    ],
    "sar, mpstat, iostat or pidstat": ['{"sysstat": {\n\t"hosts": [\n', SYSSTAT],
    "dstat": [
        "----total-usage---- -dsk/total- -net/total- ---paging-- ---system--\n"
        "usr sys idl wai stl| read  writ| recv  send|  in   out | int   csw\n"
        "  9   1  90   0   0|   0     0 |   0     0 |   0     0 | 600   700\n",
        "You did not select any stats, using -cdngy by default.\n",
        '"pcp-dstat 5.3.6 CSV Output"\n"Author:","PCP team"\n',
        '"Dstat 0.7.4 CSV output"\n"Author:","Dag Wieers"\n',
    ],
    "top": ["top - 11:27:00 up 9 days,  1:02,  1 user,  load average: 9.00, 9.00, 9.00\n"],
    "free": ["               total        used        free      shared  buff/cache   available\n"],
    "ps": ["USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND\n"],
    "collectl": ["waiting for 1 second sample...\n#<----CPU[HYPER]-----><----------Disks\n"],
    "vmstat -d": [
        "disk- ------------reads------------ ------------writes----------- -----IO------\n"
        "       total merged sectors      ms  total merged sectors      ms    cur    sec\n"
        "sda        9      0       9       9      9      0       9       9      0      9\n"
    ],
    "vmstat -D": ["           10 disks\n            0 partitions\n       661535 total reads\n"],
    "vmstat -m": ["Cache                       Num  Total   Size  Pages\nAF_VSOCK 48\n"],
    "vmstat -s": ["     24684096 K total memory\n      1426724 K used memory\n"],
    "vmstat -f": ["       334270 forks\n"],
    "vmstat -p": ["sda1              reads      read sectors      writes  requested writes\n"],
    "vmstat of FreeBSD": [
        " procs      memory      page                    disks     faults         cpu\n"
        " r b w     avm    fre   flt  re  pi  po    fr  sr ad0 cd0   in   sy   cs us sy id\n"
    ],
}  # fmt: skip
CASES = [(name, text) for name, texts in LOGS.items() for text in texts]


@pytest.mark.parametrize(
    ("name", "text"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)]
)
def test_it_is_called_by_its_name(tmp_path: Path, name: str, text: str) -> None:
    found = analysis(tmp_path, text * 5)
    (problem,) = found.report.problems
    assert problem.startswith(f"gpu.txt is from {name}"), problem
    assert "record with: " in problem
    assert found.report.nodes == ()


@pytest.mark.parametrize(
    ("begin", "name"), [(b"\x1f\x8b\x08\x00", "gzip"), (b"\x96\xd5\x21\x75\x0b", "sar")]
)
def test_files_that_are_no_text(tmp_path: Path, begin: bytes, name: str) -> None:
    path = tmp_path / "gpu.txt"
    path.write_bytes(begin + bytes(range(256)) * 40)
    (problem,) = analyse_files([path], []).report.problems
    assert problem.startswith(f"gpu.txt is from {name}, ")


def test_a_table_after_much_else_is_found(tmp_path: Path) -> None:
    dmon = "# gpu   pwr    sm\n# Idx     W     %\n" + "    0   200    97\n" * 12
    (node,) = analysis(tmp_path, "epoch 1, loss 2.5\n" * 5000 + dmon).report.nodes
    assert node.gpus[0].sm_pct.mean == 97


def test_what_can_be_read_beside_it_is_read(tmp_path: Path) -> None:
    cpu = "procs\n r  b swpd free buff cache si so bi bo in cs us sy id wa st\n"
    cpu += "1 0 0 1 1 1 0 0 0 0 1 1 20 5 70 5 0\n" * 20
    found = analysis(tmp_path, LOGS["nvidia-smi pmon"][0], cpu)
    assert found.report.nodes[0].cpu_busy_pct.mean == 25
    assert "pmon" in found.report.problems[0]


def test_an_older_pmon_after_dmon_adds_nothing(tmp_path: Path) -> None:
    dmon = "# gpu   pwr    sm\n# Idx     W     %\n" + "    0   200    97\n" * 12
    (node,) = analysis(tmp_path, dmon + LOGS["nvidia-smi pmon"][0]).report.nodes
    assert node.gpus[0].samples == 12
    assert any("1 line makes no sense" in problem for problem in node.problems)


def test_on_the_command_line_it_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "pmon.txt"
    path.write_text(LOGS["nvidia-smi pmon"][0])
    command = [sys.executable, "-m", "hpclaunch.cli.main", "report", "--gpu", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hpclaunch: pmon.txt is from nvidia-smi pmon, ")
    assert len(done.stderr.splitlines()) == 1
