"""Logs of other tools, made as those print them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from monitors.analysis.analysis import Analysis, analyse_files
from monitors.analysis.summary import NodeSummary

UNITS = {
    "pwr": "W", "gtemp": "C", "mtemp": "C", "temp": "C", "sm": "%", "mem": "%", "enc": "%",
    "dec": "%", "jpg": "%", "ofa": "%", "mclk": "MHz", "pclk": "MHz", "pviol": "%",
    "tviol": "bool", "fb": "MB", "bar1": "MB", "ccpm": "MB", "sbecc": "errs", "dbecc": "errs",
    "pci": "errs", "rxpci": "MB/s", "txpci": "MB/s", "smutil": "GPM:%",
}  # fmt: skip
GENERATIONS = {
    "375": (5, "p:pwr,temp u:sm,mem,enc,dec c:mclk,pclk v:pviol,tviol m:fb,bar1 "
               "e:sbecc,dbecc,pci t:rxpci,txpci"),
    "390": (5, "p:pwr,gtemp,mtemp u:sm,mem,enc,dec c:mclk,pclk v:pviol,tviol m:fb,bar1 "
               "e:sbecc,dbecc,pci t:rxpci,txpci"),
    "470": (5, "p:pwr,gtemp,mtemp u:sm,mem,enc,dec c:mclk,pclk v:pviol,tviol m:fb,bar1 "
               "e:sbecc,dbecc,pci t:rxpci,txpci"),
    "535": (6, "p:pwr,gtemp,mtemp u:sm,mem,enc,dec,jpg,ofa c:mclk,pclk v:pviol,tviol "
               "m:fb,bar1,ccpm e:sbecc,dbecc,pci t:rxpci,txpci"),
    "580": (6, "p:pwr,gtemp,mtemp u:sm,mem,enc,dec,jpg,ofa c:mclk,pclk v:pviol,tviol "
               "m:fb,bar1,ccpm e:sbecc,dbecc,pci t:rxpci,txpci"),
}  # fmt: skip
"""By driver: width of a column, and the columns by the letters of `-s`."""


def dmon(
    driver: str,
    letters: str,
    options: str,
    ticks: int,
    value: Callable[[str, int, int], object],
    gpus: int = 1,
    *,
    every: int = 30,
    csv: bool = False,
) -> str:
    """What `nvidia-smi dmon -s LETTERS -o OPTIONS` prints.

    `value` returns that of a column, a GPU and a tick.
    """
    width, text = GENERATIONS[driver]
    groups = dict(part.split(":") for part in text.split())
    names = [name for letter in letters for name in groups[letter].split(",")]
    stamps = {"D": ("Date", "YYYYMMDD"), "T": ("Time", "HH:MM:SS")}
    first = [stamps[letter] for letter in "DT" if letter in options] + [("gpu", "Idx")]
    lines = []
    for t in range(ticks):
        if t % every == 0:
            for at in (0, 1):
                cells = [f"{pair[at]:<9}" for pair in first]
                cells += [f"{name if at == 0 else UNITS[name]:>{width}}" for name in names]
                lines.append("#" + line(cells, csv))
        for gpu in range(gpus):
            clock = f"{9 + t // 3600:02d}:{t // 60 % 60:02d}:{t % 60:02d}"
            cells = ["20260816"] * ("D" in options) + [clock] * ("T" in options) + [str(gpu)]
            cells += [f"{value(name, gpu, t)!s:>{width}}" for name in names]
            lines.append(line(cells, csv))
    return "".join(f"{each} \n" for each in lines)


def line(cells: Sequence[str], csv: bool) -> str:
    """Cells as dmon prints them, or with --format csv."""
    return ", ".join(cell.strip() for cell in cells) if csv else " ".join(cells)


def query(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, units: bool = True, every: int = 0
) -> str:
    """What `--query-gpu=COLUMNS --format=csv` prints; columns as `memory.used [MiB]`."""
    head = ", ".join(columns) + "\n"
    suffixes = [column.partition("[")[2].rstrip("]") for column in columns]
    text = head
    for number, row in enumerate(rows):
        if every and number and number % every == 0:
            text += head
        cells = [
            f"{cell} {suffix}" if units and suffix and cell[:1].isdigit() else cell
            for cell, suffix in zip(row, suffixes, strict=True)
        ]
        text += ", ".join(cells) + "\n"
    return text


def node(folder: Path, gpu: str | None = None, cpu: str | None = None, **more: str) -> NodeSummary:
    """Return what is read of one node's logs."""
    (found,) = analysis(folder, gpu, cpu, **more).report.nodes
    return found


def analysis(folder: Path, gpu: str | None = None, cpu: str | None = None, **more: str) -> Analysis:
    """Analyse logs with these texts."""
    paths: list[list[Path]] = []
    for name, text in (("gpu.txt", gpu), ("cpu.txt", cpu)):
        if text is not None:
            (folder / name).write_text(text, newline="")
        paths.append([] if text is None else [folder / name])
    return analyse_files(paths[0], paths[1], None, more.get("vmstat_unit"))
