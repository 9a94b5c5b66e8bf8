"""Foreign words in a script are data: whatever they look like, none is ever run."""

import subprocess
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.plan.resources import Launch
from hpclaunch.render.script import script
from hpclaunch.run.folder import RunFolder
from hpclaunch.site.schema import Site
from tests.plan.making import launch, plan, recipe
from tests.render.standins import Stage

NASTY = [
    "a b", "it's", '"', "$(touch pwned)", "`touch pwned`", "${#x}", "$HOME", "{{ x }}", "{% if %}",
    "<%# c #%>", "a\nb", "\n#SBATCH --account=evil\n", "-x", "--", "--config_file=x", "", " ", "\\",
    "'; touch pwned; '", "é🦙", "\u2028", "\x85", "\r", "\x1b[31m", "*", "~", "!!", "&", "#", "%j",
]  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
)
FOLDERS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\"'\\%$`/\x7f"),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in {".", ".."})
TINY = recipe("model.dtype=float32", name="tiny")


def is_bash(text: str) -> bool:
    done = subprocess.run(
        ["/bin/bash", "-n"], input=text.encode(), capture_output=True, check=False
    )
    return done.returncode == 0 and not done.stderr


@given(
    words=st.lists(WORDS, max_size=5),
    value=WORDS,
    command=st.lists(WORDS, max_size=3),
    folder=FOLDERS,
    cwd=FOLDERS,
)
@example(
    words=NASTY, value="\n".join(NASTY), command=NASTY, folder="-a b;#{{x}} (1)&*~!é", cwd="~ ("
)
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_program_gets_exactly_the_words_its_user_wrote(
    words: list[str], value: str, command: list[str], folder: str, cwd: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        stage = Stage(Path(name))
        here = stage.root / "work" / cwd
        here.mkdir(parents=True)
        run = RunFolder(stage.root / "runs" / folder)
        how = launch(
            mode="local",
            folder=run.root,
            cwd=here,
            python=stage.python(),
            program=("prog ram", *words),
            command=("hpclaunch", *command),
        )
        site = Site(name="s", environment={"FOREIGN": value})
        text = script(plan(TINY, site=site, how=how, cpu_processes=1))
        assert is_bash(text)
        code, said = stage.run(run, text)
        assert (code, said) == (0, "hpclaunch: starting 1 process\n")
        argv = stage.read("argv")
        assert argv[argv.index("--no_python") :] == ["--no_python", "prog ram", *words]
        assert argv[argv.index("--config_file") + 1] == str(run.accelerate)
        assert stage.environ()["FOREIGN"] == value
        assert (stage.notes / "cwd").read_text() == f"{here.resolve()}\n"
        assert not list(stage.root.rglob("pwned"))


def slurm_launch(**changes: object) -> Launch:
    return launch(**({"program": ("prog",)} | changes))


@given(words=st.lists(WORDS, max_size=4), folder=FOLDERS)
@example(words=NASTY, folder="a#b c")
@settings(deadline=None, max_examples=30)
def test_no_word_becomes_a_header_line(words: list[str], folder: str) -> None:
    plain = script(plan(how=slurm_launch(), gpus=2))
    how = slurm_launch(
        program=("prog", *words), command=words, folder=Path("/shared/runs") / folder
    )
    text = script(plan(how=how, gpus=2))
    assert is_bash(text)
    # Slurm reads '#SBATCH' lines up to the first line that is neither comment nor empty.
    assert [line.partition("=")[0] for line in header(text)] == [
        line.partition("=")[0] for line in header(plain)
    ]


def header(text: str) -> list[str]:
    lines = []
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            break
        lines += [line] if line.startswith("#SBATCH") else []
    return lines


def test_a_recipes_name_stays_in_its_comment() -> None:
    named = msgspec.structs.replace(TINY, name="x\n#SBATCH --account=evil\ntouch pwned")
    text = script(plan(named, how=launch(), cpu_processes=1))
    assert "--account" not in "".join(header(text))
    assert "\ntouch pwned" not in text


@pytest.mark.parametrize("word", ["a\0b", "\udcff", "x\ud800"])
def test_what_no_program_can_be_given_is_refused(word: str) -> None:
    with pytest.raises(UserError) as caught:
        script(plan(how=slurm_launch(program=("prog", word)), gpus=1))
    assert str(caught.value).isprintable()
    with pytest.raises(UserError, match="value of X"):
        script(plan(site=Site(name="s", environment={"X": word}), how=slurm_launch(), gpus=1))


@pytest.mark.parametrize("words", [("--lr", "1"), ("-m",), ("-x.py",)])
def test_a_program_that_is_none_is_refused(words: tuple[str, ...]) -> None:
    # accelerate would take it for an option of its own.
    with pytest.raises(UserError, match="names no program"):
        script(plan(how=slurm_launch(program=words), gpus=1))


@pytest.mark.parametrize(
    "site",
    [
        Site(name="s", modules=["a; rm"]),
        Site(name="s", modules=["a\n"]),
        Site(name="s", modules=["-f"]),
        Site(name="s", environment={"A-B": "x"}),
        Site(name="s", environment={"A\n": "x"}),
        Site(name="s", address_suffix="$(x)"),
        Site(name="s", address_suffix="-ib0\n"),
        Site(name="s", account="a b"),
        Site(name="s", partition="p\n#SBATCH --qos=x"),
        Site(name="s", time="1 # hour"),
    ],
)
def test_a_profile_with_words_that_fit_no_script_is_refused(site: Site) -> None:
    with pytest.raises(UserError):
        script(plan(site=site, how=slurm_launch(), gpus=1))
