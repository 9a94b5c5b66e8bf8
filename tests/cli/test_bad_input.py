"""Bad input: one line with the fix, exit code 2, nothing written."""

from __future__ import annotations

import shlex
import subprocess
import venv

import pytest

from tests.cli.running import Home

TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sbatch nosuch", "no recipe called 'nosuch'"),
        ("sbatch tinny", "did you mean 'tiny'"),
        ("sbatch ./nosuch.yaml", "nosuch.yaml"),
        ("sbatch tiny llama3-8b-lora", "one recipe at a time"),
        ("sbatch tiny tiny", "one recipe at a time: tiny and tiny; leave one out"),
        (
            "plan tiny training.seed=1 data.limit=9 training.seed=2",
            "training.seed is given twice: 1 and 2; leave one out",
        ),
        (
            "plan tiny --method full method.kind=lora",
            "method.kind is given twice: full by an option, and lora; leave one out",
        ),
        ("sbatch tiny mine", "'mine' is neither a recipe nor key=value"),
        ("plan tiny --nodes 10000", "neither a number from 1 to 9999 nor a range of them"),
        ("plan tiny --nodes 1..4 --compare --gpu h100", "one number of nodes"),
        ("plan tiny --gpu a100_80,h100", "--gpu a100_80,h100: no such GPU type"),
        ("srun tiny --shell --cpu-processes 1 -- python", "--shell opens a shell"),
        ("sbatch tiny --dataset ./nosuch.jsonl", "dataset not found"),
        ("sbatch tiny --dataset builtin:questions", "builtin:cluster-questions"),
        ("sbatch tiny --model builtin:llama", "builtin:tiny-llama"),
        ("sbatch tiny training.lerning_rate=1", "did you mean 'learning_rate'"),
        ("recipes validate tiny training.optim=paged_adamw_8bit", "adamw_torch_fused"),
        ("recipes validate tiny training.push_to_hub=true", "hf upload"),
        (
            "recipes validate tiny training.load_best_model_at_end=true",
            "set checkpoints.best: eval_loss",
        ),
        ("sbatch tiny training.seed=abc", "training.seed"),
        ("sbatch tiny seed=3", "section.key=value"),
        ("sbatch tiny --gpus 4 --gpu a100_39", "--gpu a100_39: no such GPU type"),
        ("sbatch tiny --site baskerville --account a --qos b --gpu h100", "no GPU type 'h100'"),
        ("sbatch tiny --site baskerville --gpu a100_40", "needs account and qos"),
        ("sbatch tiny --site basquerville", "did you mean 'baskerville'"),
        ("sbatch tiny --site isambard-ai --gpus 5 --gpu gh200", "use --gpus 4"),
        ("sbatch tiny --nodes 0", "at least one node"),
        ("rehearse tiny --processes 0", "x>=1"),
        ("sbatch tiny --nodes many", "valid integer"),
        ("sbatch tiny --gpus 2 --cpu-processes 2", "exclude each other"),
        ("sbatch tiny --time tomorrow", "--time 'tomorrow'"),
        ("sbatch tiny --mem lots", "--mem 'lots'"),
        ("sbatch tiny --name ../up", "a run's name"),
        ("sbatch tiny --name a$(id)", "a run's name"),
        ("sbatch tiny --port 80", "1024 to 65535"),
        ("sbatch tiny --venv nosuch", "no Python environment"),
        ("sbatch tiny --no-submit --runs-dir /dev/null/runs", "/dev/null"),
        ("sbatch tiny", "hpclaunch local"),
        ("local llama3-8b-lora --cpu-processes 1", "is gated"),
        ("srun --nodes 2 tiny", "hpclaunch local"),
        ("sbatch --bogus", "--bogus"),
        ("local --cpu-processes 0", "--cpu-processes 0: must be at least 1"),
        ("local --gpus 0", "--gpus 0: must be at least 1"),
        ("sbatch --method lore", "lora"),
        ("sbatc", "'sbatch'"),
        ("sbatch tiny --", "there is nothing after '--'"),
        ("status -- prog", "go with sbatch, srun, local, sweep and monitor"),
        (f"sbatch tiny --no-submit -- train.py {TOKEN}", "a secret"),
        ("local tiny --gpus 1", "this machine has"),
        ("local --cpu-processes 1 -- trian.py", "no program trian.py"),
        ("sbatch --no-submit --cpu-processes 1 -- -m nomod", "no module 'nomod'"),
        ("recipes validate tiny training.learning_rate=-1", "more than 0"),
        ("local llama3-8b-lora --fsdp 1 --cpu-processes 2", "FSDP 1 runs on GPUs only"),
        ("config --nodes 4 --gpus 4 --sharding half", "hybrid"),
        ("config --nodes 4 --gpus 4 --gpu a100_39", "--gpu a100_39: no such GPU type"),
        ("sbatch tiny nosuch.key=3", "command line: unknown key 'nosuch'"),
        ("recipes cat nosuch", "no recipe called"),
        ("recipes validate nosuch.yaml", "nosuch.yaml"),
        ("recipes", "Missing command"),
        ("status", "there is no run yet"),
        ("status nosuch", "no run called 'nosuch'"),
        ("logs ./nosuch", "no run folder"),
        ("cancel 12345", "no run called '12345'"),
        ("report nosuch", "no run called"),
    ],
)
def test_one_line_and_nothing_written(home: Home, words: str, expected: str) -> None:
    home.bare_path()
    before = home.files()
    done = home.call(*words.split())
    assert done.code == 2, done
    assert done.err.startswith("hpclaunch: ")
    assert done.err.count("\n") == 1, done.err
    assert expected in done.err
    assert TOKEN not in done.err
    assert done.out == ""
    assert home.files() == before


def test_a_token_in_this_shell_only_is_explained(home: Home) -> None:
    shell = Home(home.folder, {"HF_TOKEN": TOKEN})
    words = ["--nodes", "4", "--gpus", "4", "--no-submit"]
    done = shell.call("sbatch", "llama3-70b-lora", *words)
    # What is written alone may be submitted from another machine.
    assert done.code == 0
    assert "note: model meta-llama/Meta-Llama-3-70B-Instruct is gated" in done.err
    assert "HF_TOKEN is set in this shell only" in done.err
    assert "hf auth login" in done.err
    assert TOKEN not in done.err


def test_a_saved_token_opens_a_gated_model(home: Home) -> None:
    saved = home.folder / ".cache/huggingface/token"
    saved.parent.mkdir(parents=True)
    saved.write_text(TOKEN)
    done = home.call("sbatch", "--nodes", "4", "--gpus", "4", "--gpu", "a100_40", "--no-submit")
    assert done.code == 0, done.err
    assert "is gated" not in done.err
    written = [path for path in home.runs.rglob("*") if path.is_file()]
    assert len(written) >= 4
    assert not any(TOKEN in path.read_text() for path in written)


def test_data_that_nobody_could_train_on(home: Home) -> None:
    file = home.folder / "rows.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "compl\n')
    for words in (
        ["local", "tiny", "--dataset", "rows.jsonl"],
        ["recipes", "validate", "tiny", "data.name=rows.jsonl", "data.validation_split=null"],
    ):
        done = home.call(*words)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "rows.jsonl:2: not valid JSON" in done.err
    assert not home.runs.exists()


def test_an_environment_without_the_training_stack(home: Home) -> None:
    venv.create(home.folder / "bare", with_pip=False)
    done = home.call("sbatch", "tiny", "--no-submit", "--venv", "bare", "--cpu-processes", "1")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "lacks torch, accelerate" in done.err
    assert home.call("sbatch", "tiny", "--dry-run", "--venv", "bare").code == 0


def test_a_run_name_that_is_taken(home: Home) -> None:
    assert home.call("sbatch", "tiny", "--no-submit", "--name", "one").code == 0
    before = (home.runs / "one/run.json").read_text()
    done = home.call("sbatch", "tiny", "--no-submit", "--name", "one")
    assert done.code == 2
    assert "exists already" in done.err
    assert (home.runs / "one/run.json").read_text() == before


def test_a_folder_that_was_removed(home: Home) -> None:
    gone = home.folder / "gone"
    gone.mkdir()
    command = f"cd {gone} && /bin/rmdir {gone} && {shlex.join(home.argv('recipes', 'ls'))}"
    done = subprocess.run(
        ["bash", "-c", command],
        env=home.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "hpclaunch: the current folder is gone; cd to another one\n"


def test_a_damaged_record(home: Home) -> None:
    assert home.call("sbatch", "tiny", "--no-submit", "--name", "one").code == 0
    (home.runs / "one/run.json").write_text('{"name": ')
    for command in ("status", "logs", "report", "cancel"):
        done = home.call(command, str(home.runs / "one"))
        assert done.code == 2
        assert "damaged" in done.err
