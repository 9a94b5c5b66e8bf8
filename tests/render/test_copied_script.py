"""The script of a copied run folder does not act on the folder that it was copied from."""

import shlex
import shutil

import pytest

from hpclaunch.run.folder import RunFolder
from tests.render.shell import in_folder, stand_in
from tests.render.standins import write_script


@pytest.fixture
def copied(folder: RunFolder) -> RunFolder:
    """A copy of the run folder with everything in it."""
    write_script(folder, 'source "$HPCLAUNCH_RUN/launch.sh" "$1"\nbegin\necho began\n')
    folder.record.write_text("{}")
    copy = RunFolder(folder.root.with_name("a copy"))
    shutil.copytree(folder.root, copy.root)
    return copy


def listing(folder: RunFolder) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.root.rglob("*")}


def test_the_script_of_a_copied_folder_does_not_run_in_the_first(
    folder: RunFolder, copied: RunFolder
) -> None:
    before = listing(folder)
    done = in_folder(folder, ["bash", str(copied.script), "local"])
    assert (done.returncode, done.stdout) == (2, "")
    assert f"go on in the copy with: hpclaunch resume {copied.root}\n" in done.stderr
    assert listing(folder) == before
    assert in_folder(folder, ["bash", str(folder.script), "local"]).stdout.endswith("began\n")


@pytest.mark.parametrize("submitted", ["copy", "own", "through a link", "elsewhere", "by stdin"])
def test_slurm_says_which_script_was_submitted(
    folder: RunFolder, copied: RunFolder, submitted: str
) -> None:
    """Slurm runs a script from its spool: there, its own path says nothing."""
    spool = folder.root.parent / "spool/slurm_script"
    spool.parent.mkdir()
    shutil.copy(folder.script, spool)
    link = folder.root.with_name("link")
    link.symlink_to(folder.root)
    shutil.copy(folder.script, spool.with_name("mine.sbatch"))
    script = {
        "copy": str(copied.script),
        "own": str(folder.script),
        "through a link": str(link / "job.sbatch"),
        "elsewhere": str(spool.with_name("mine.sbatch")),
        "by stdin": "(null)",
    }[submitted]
    answer = f"   JobState=RUNNING Reason=None\n   Command={script}\n   WorkDir=/\n"
    stand_in(
        folder.root.parent,
        "scontrol",
        f'if [ "$2" = job ]; then printf %s {shlex.quote(answer)}; else echo n1; fi',
    )
    log = folder.logs / "job-7.out"
    log.write_text("")  # as Slurm opens it
    before = listing(folder)
    done = in_folder(folder, ["bash", str(spool), "slurm"])
    if submitted != "copy":
        assert done.stdout.endswith("began\n"), done.stderr
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert not log.exists(), "it is no log of this run"
    before.pop(str(log)), before.pop(str(folder.logs))
    assert {path: at for path, at in listing(folder).items() if path in before} == before
    assert "would run there" in (copied.logs / "job-7.out").read_text()
