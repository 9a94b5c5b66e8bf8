"""Numbers in the files of a GPU's kernel driver, kept open."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

from monitors.recorder.kernel_files import open_file, read_file


class Numbers:
    """Files with a number each, by a name of ours; one that is not there is unknown."""

    def __init__(self, paths: dict[str, Path | None]) -> None:
        opened = {name: open_file(path) for name, path in paths.items() if path is not None}
        self._files: dict[str, FileIO] = {
            name: file for name, file in opened.items() if file is not None
        }

    def __contains__(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._files

    def read(self, name: str) -> int | None:
        """The number that a file holds now."""
        text = read_file(self._files.get(name)).strip()
        try:
            return int(text)
        except ValueError:
            return None

    def scaled(self, name: str, divisor: float, digits: int = 1) -> float | None:
        """The number in a larger unit."""
        value = self.read(name)
        return None if value is None else round(value / divisor, digits)


def number_in(path: Path) -> int | None:
    """The number in a file that does not change."""
    return Numbers({"": path}).read("")


def line_in(path: Path) -> str | None:
    """The first line of a file; None where there is none."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return None
    return lines[0].strip() or None if lines else None


def hwmon_of(device: Path, names: tuple[str, ...]) -> Path | None:
    """The folder with a GPU's sensors, by the name that its driver gives it."""
    for folder in sorted((device / "hwmon").glob("hwmon*")):
        if line_in(folder / "name") in names:
            return folder
    return None


def labelled(hwmon: Path | None, kind: str, *labels: str) -> Path | None:
    """The sensor (`temp`, `freq`) that has the first of these labels that any has."""
    if hwmon is None:
        return None
    for label in labels:
        for path in sorted(hwmon.glob(f"{kind}*_label")):
            if line_in(path) == label:
                return path.with_name(path.name.replace("_label", "_input"))
    return None


class Answering:
    """Notes when a GPU that answered no longer does."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._answered = self._reported = False
        self._notes: list[str] = []

    def see(self, known: bool) -> None:
        """Take whether anything was known of it in a tick."""
        self._answered |= known
        if self._answered and not known and not self._reported:
            self._reported = True
            self.note("is no longer sampled: the files of its driver do not answer", joint="")

    def note(self, text: str, joint: str = ":") -> None:
        """Note something about this GPU."""
        self._notes.append(f"GPU {self._index}{joint} {text}")

    def take(self) -> list[str]:
        """What was noted since this was last called."""
        taken, self._notes = self._notes, []
        return taken
