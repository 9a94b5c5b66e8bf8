"""What the script of a local run does, seen by running it with stand-ins."""

import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.render.script import script
from hpclaunch.run.folder import RunFolder
from tests.plan.making import launch, plan, recipe
from tests.render.standins import Stage, finish, until_stopped


def rendered(
    stage: Stage, program: tuple[str, ...] = (), *, test_run: bool = False, **resources: Any
) -> tuple[RunFolder, str]:
    folder = RunFolder(stage.root / "run")
    how = launch(
        mode="local",
        folder=folder.root,
        cwd=stage.root,
        python=stage.python(),
        program=program,
        test_run=test_run,
    )
    resources = resources or {"cpu_processes": 2}
    return folder, script(plan(recipe("model.dtype=float32", name="tiny"), how=how, **resources))


@pytest.mark.parametrize(
    ("training", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 77", 77), ("kill -KILL $$", 137)]
)
def test_the_trainings_exit_code_is_the_scripts(tmp_path: Path, training: str, code: int) -> None:
    stage = Stage(tmp_path, training=training, sidecar=until_stopped("sidecar"))
    folder, text = rendered(stage)
    assert stage.run(folder, text)[0] == code
    assert folder.exit_code_file.read_text() == f"{code}\n"
    assert not stage.alive("sidecar")


@pytest.mark.parametrize(("code", "parts"), [(0, "save load"), (3, "save")])
def test_a_test_run_stops_after_a_step_and_loads_what_it_saved(
    tmp_path: Path, code: int, parts: str
) -> None:
    looks = 'if grep -qsx "test run" "$HPCLAUNCH_RUN/stop"; then echo save; else echo load; fi'
    stage = Stage(tmp_path, training=f'{looks} >>"$HPCLAUNCH_RUN/parts"; exit {code}')
    folder, text = rendered(stage, test_run=True)
    assert stage.run(folder, text)[0] == code
    assert (folder.root / "parts").read_text().split() == parts.split()
    assert not folder.stop_request.exists()


def test_the_trainer_is_launched_with_everything_on_the_command_line(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    folder, text = rendered(stage)
    assert stage.run(folder, text)[0] == 0
    words = stage.read("argv")
    assert words[:2] == ["--config_file", str(folder.accelerate)]
    for flag, value in (
        ("--machine_rank", "0"),
        ("--main_process_ip", "127.0.0.1"),
        ("--num_machines", "1"),
        ("--num_processes", "2"),
        ("--rdzv_backend", "static"),
    ):
        assert words[words.index(flag) + 1] == value
    assert words[-3:] == ["-m", "hpclaunch.train", str(folder.root)]
    assert stage.read("prepare") == ["-m", "hpclaunch.train.prepare", str(folder.root)]
    assert (stage.notes / "cwd").read_text().strip() == str(folder.root.resolve())
    assert stage.environ()["HF_HUB_OFFLINE"] == "1", "the ranks find everything in the cache"


def test_a_program_of_ones_own_starts_where_its_user_stands(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    folder, text = rendered(stage, ("train.py", "--lr", "1e-4"))
    assert stage.run(folder, text)[0] == 0
    assert stage.read("argv")[-3:] == ["train.py", "--lr", "1e-4"]
    assert (stage.notes / "cwd").read_text().strip() == str(tmp_path.resolve())
    assert not (stage.notes / "prepare").exists(), "its data is its own business"
    assert "HF_HUB_OFFLINE" not in stage.environ()


def test_a_stop_reaches_the_training_and_ends_the_sidecar(tmp_path: Path) -> None:
    stage = Stage(tmp_path, training=until_stopped("training", 5), sidecar=until_stopped("sidecar"))
    folder, text = rendered(stage)
    process = stage.start(folder, text)
    stage.wait_for("training.ready")
    stage.wait_for("sidecar.ready")
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 5, "the training's own code, not 143"
    assert folder.exit_code_file.read_text() == "5\n"
    assert (stage.notes / "training.stopped").exists()
    assert (stage.notes / "sidecar.stopped").exists()
    assert not stage.alive("sidecar")


def test_a_training_that_saves_before_it_ends_is_given_the_time(tmp_path: Path) -> None:
    saves = (
        "trap 'sleep 0.5; touch {notes}/saved; exit 0' TERM; echo 1 >{notes}/ready;"
        " while :; do sleep 0.02; done"
    )
    stage = Stage(tmp_path, training=saves)
    folder, text = rendered(stage)
    process = stage.start(folder, text)
    stage.wait_for("ready")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 0
    assert (stage.notes / "saved").exists()


def test_usr1_asks_the_training_to_stop_in_its_own_time(tmp_path: Path) -> None:
    stop = tmp_path / "run/stop"
    waits = f"echo 1 >{{notes}}/ready; until [ -s {stop} ]; do sleep 0.02; done; exit 3"
    stage = Stage(tmp_path, training=waits)
    folder, text = rendered(stage)
    process = stage.start(folder, text)
    stage.wait_for("ready")
    process.send_signal(signal.SIGUSR1)
    assert finish(process)[0] == 3, "waited for, and its own code"
    assert folder.stop_request.read_text() == "preempted\n"


def test_a_stop_while_weights_are_fetched_ends_the_fetching(tmp_path: Path) -> None:
    stage = Stage(tmp_path, prepare=until_stopped("prepare", 0))
    folder, text = rendered(stage)
    process = stage.start(folder, text)
    stage.wait_for("prepare.ready")
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    assert folder.exit_code_file.read_text() == "143\n"
    assert not stage.alive("prepare")
    assert not (stage.notes / "argv").exists(), "no training after a stop"


def test_no_training_without_weights(tmp_path: Path) -> None:
    stage = Stage(tmp_path, prepare="exit 3")
    folder, text = rendered(stage)
    assert stage.run(folder, text)[0] == 3
    assert folder.exit_code_file.read_text() == "3\n"
    assert not (stage.notes / "argv").exists()


def test_a_sidecar_that_fails_at_once_fails_nothing_else(tmp_path: Path) -> None:
    stage = Stage(tmp_path, sidecar="echo broken >&2; exit 9", training="sleep 0.2; exit 0")
    folder, text = rendered(stage)
    assert stage.run(folder, text)[0] == 0
    assert folder.exit_code_file.read_text() == "0\n"
    assert "broken" in (folder.logs / "sidecar.log").read_text()


def test_what_an_earlier_try_left_is_cleared_away(tmp_path: Path) -> None:
    stage = Stage(tmp_path, training="ls $HPCLAUNCH_RUN >{notes}/seen; exit 0")
    folder, text = rendered(stage)
    folder.root.mkdir()
    folder.exit_code_file.write_text("1\n")
    folder.stop_request.touch()
    assert stage.run(folder, text)[0] == 0
    seen = (stage.notes / "seen").read_text().split()
    assert not {"exit_code", "stop"} & set(seen)


def test_a_port_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        folder, text = rendered(stage, cpu_processes=1, port=port)
        assert stage.run(folder, text)[0] == 0
    words = stage.read("argv")
    assert int(words[words.index("--main_process_port") + 1]) > port


@pytest.mark.parametrize("own", [{}, {"GLOO_SOCKET_IFNAME": "eth9"}])
def test_the_ranks_talk_over_loopback_alone(tmp_path: Path, own: dict[str, str]) -> None:
    stage = Stage(tmp_path, environment=own)
    folder, text = rendered(stage)
    assert stage.run(folder, text)[0] == 0
    words, seen = stage.read("argv"), stage.environ()
    assert words[words.index("--main_process_ip") + 1] == "127.0.0.1"
    expected = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "=lo"} | own
    assert {name: seen[name] for name in expected} == expected


@pytest.mark.parametrize(("visible", "code"), [("0", 1), ("0,1", 0), ("0,1,2", 0), (None, 0)])
def test_the_gpus_that_are_there_are_held_against_those_asked_for(
    tmp_path: Path, visible: str | None, code: int
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    stage = Stage(tmp_path, environment=environment)
    folder, text = rendered(stage, gpus=2)
    found, said = stage.run(folder, text)
    assert found == code
    assert ("gives GPUs 0, 2 were asked for" in said) == (code == 1)


def test_an_environment_that_is_gone_leaves_its_exit_code(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    folder, text = rendered(stage)
    (stage.root / "env").rename(stage.root / "moved")
    code, said = stage.run(folder, text)
    assert (code, folder.exit_code_file.read_text()) == (1, "1\n")
    assert f"no Python environment in {stage.root}/env" in said
