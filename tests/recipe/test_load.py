"""What a recipe file or an override may say, and how a mistake is answered."""

import re
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import is_override, load, split_override
from hpclaunch.recipe.training import DEFAULTS, OWNED, config_fields

SMALL = """\
name: mine
model: {name: owner/model}
data: {name: owner/data}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(text: str, *overrides: str) -> str:
    Path("r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load("r.yaml", overrides)
    line = str(caught.value)
    assert line.isprintable(), "one line, whatever the file held"
    return line


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("fsdp:\n  shardin: full\n", r"^r.yaml:5: unknown key 'fsdp.shardin'; .*'sharding'"),
        ("metod: {kind: lora}\n", r"^r.yaml:4: unknown key 'metod'; did you mean 'method'"),
        ("method:\n  lora: {rank: 8, alpha: 2}\n", r"^r.yaml:5: unknown key 'method.lora.rank'"),
        (
            "training:\n  learning_rte: 1\n",
            r"^r.yaml:5: unknown .*'training.learning_rte'; .*_rate'",
        ),
        ("training:\n  xyzzy: 1\n", r"^r.yaml:5: .*xyzzy.*SFTConfig"),
        ("fsdp:\n  version: 3\n", r"^r.yaml:5: fsdp.version: 3 is not valid; valid: 1, 2$"),
        (
            "method:\n  kind: Lora\n",
            r"^r.yaml:5: method.kind: 'Lora' is not valid; valid: full, lora, qlora$",
        ),
        ("tracking: {wandb: {mode: on-line}}\n", r"mode: 'on-line' .*valid: online, offline"),
        ("method:\n\n  lora: {r: eight}\n", r"^r.yaml:6: method.lora.r: expected `int`"),
        ("method: {lora: {r: 0}}\n", r"^r.yaml:4: method.lora.r: .*>= 1"),
        ("method: {lora: {lora_dropout: 1.5}}\n", r"lora_dropout: .*< 1"),
        ("monitoring: {interval: 0}\n", r"^r.yaml:4: monitoring.interval: .*>= 0.05"),
        ("monitoring: {interval: 301}\n", r"^r.yaml:4: monitoring.interval: .*<= 300"),
        ("monitoring: {interval: .nan}\n", r"^r.yaml:4: monitoring.interval: "),
        ("monitoring: {interval: fast}\n", r"^r.yaml:4: monitoring.interval: expected `float`"),
        ("data: [a]\n", r"^r.yaml:4: 'data' is given twice"),
        ("training: 3\n", r"^r.yaml:4: training: expected `mapping`, got `int`"),
        ("training:\n  seed: soon\n", r"^r.yaml:5: training.seed: expected int, got 'soon'"),
        ("training:\n  packing: 1\n", r"^r.yaml:5: training.packing: expected bool"),
        ("training:\n  max_steps: 1.5\n", r"^r.yaml:5: training.max_steps: expected int"),
        ("checkpoints: {keep: null}\n", r"^r.yaml:4: checkpoints.keep: expected `int`, got `null`"),
        ("\tname: x\n", r"^r.yaml:4: not valid YAML"),
        ("fsdp: {sharding: [}\n", r"^r.yaml:4: not valid YAML"),
        ("training: {seed: !!int x}\n", r"^r.yaml:4: 'x' is no int"),
        ("training: {run_name: !!binary aGk=}\n", r"^r.yaml:4: .*binary.*leave the tag out"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(here: Path, extra: str, said: str) -> None:
    assert re.search(said, refusal(SMALL + extra))


def test_a_missing_key_is_named(here: Path) -> None:
    assert refusal("name: x\nmodel: {name: a/b}\n") == "r.yaml: key 'data' is missing"
    assert refusal("name: x\nmodel:\n  gated: true\ndata: {name: a/b}\n") == (
        "r.yaml:2: key 'model.name' is missing"
    )
    assert "name" in refusal("")


@pytest.mark.parametrize("key", sorted(OWNED))
def test_what_the_launcher_sets_is_refused_with_the_place_to_say_it(here: Path, key: str) -> None:
    line = refusal(SMALL + f"training:\n  {key}: x\n")
    assert line.startswith(f"r.yaml:5: training.{key} is not yours to set; ")
    by_override = refusal(SMALL, f"training.{key}=x")
    assert by_override.startswith(f"command line: training.{key} is not yours to set; ")


def test_owned_keys_are_never_suggested(here: Path) -> None:
    assert "output_dir'" not in refusal(SMALL + "training: {output_dirs: x}\n")
    assert OWNED.keys() - {"logging_dir"} <= config_fields().keys(), "no owned key but a real one"


def test_overrides_win_over_the_file_and_flags_over_both(here: Path) -> None:
    Path("r.yaml").write_text(SMALL + "training: {seed: 1}\nmethod: {kind: full}\n")
    assert load("r.yaml").training["seed"] == 1
    recipe = load("r.yaml", ["training.seed=2", "method.kind=lora"], {"method.kind": "qlora"})
    assert recipe.training["seed"] == 2
    assert recipe.method.kind == "qlora"
    assert recipe.training["learning_rate"] == 2e-4, "the default is that of the final method"


def test_overrides_reach_into_sections_the_file_lacks(here: Path) -> None:
    Path("r.yaml").write_text(SMALL)
    recipe = load(
        "r.yaml",
        [
            "tracking.wandb.project=p",
            "training.lr_scheduler_kwargs.num_cycles=2",
            "method.lora.target_modules=[q_proj, v_proj]",
            "training.learning_rate=1e-4",
            "data.limit=",
        ],
    )
    assert recipe.tracking.wandb.project == "p"
    assert recipe.training["lr_scheduler_kwargs"] == {"num_cycles": 2}
    assert recipe.method.lora.target_modules == ["q_proj", "v_proj"]
    assert recipe.training["learning_rate"] == pytest.approx(0.0001)
    assert recipe.data.limit is None


def test_a_wrong_override_is_blamed_on_the_command_line(here: Path) -> None:
    assert re.match(r"command line: unknown key 'fsdp.of'", refusal(SMALL, "fsdp.of=1"))
    assert "command line: model.dtype: 'bf16' is not valid" in refusal(SMALL, "model.dtype=bf16")
    assert "write section.key=value" in refusal(SMALL, "seed=7")


def test_a_section_whose_lines_are_all_commented_out_is_no_section(here: Path) -> None:
    Path("r.yaml").write_text(SMALL + "training:\n  # seed: 7\nfsdp:\n")
    recipe = load("r.yaml")
    assert recipe.training["seed"] == 42
    assert recipe.fsdp.version == 2


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1e-4", 1e-4), ("2E5", 2e5), ("1e+3", 1e3), ("1.5e-3", 1.5e-3), (".5", 0.5), ("3", 3)],
)
def test_numbers_are_read_as_a_person_means_them(here: Path, written: str, meant: float) -> None:
    Path("r.yaml").write_text(SMALL + f"training: {{weight_decay: {written}}}\n")
    assert load("r.yaml").training["weight_decay"] == meant
    assert split_override(f"training.weight_decay={written}")[1] == meant


def test_what_is_an_override_and_what_a_file(here: Path) -> None:
    Path("a.b=c").touch()
    assert is_override("training.seed=7")
    assert not is_override("a.b=c")
    assert not is_override("tiny")
    assert split_override("data.split=a=b") == ("data.split", "a=b")


@pytest.mark.parametrize("word", ["no", "yes", "on", "off"])
def test_words_are_words_and_only_true_and_false_are_not(word: str) -> None:
    recipe = load("tiny", [f"data.subset={word}", "training.packing=false"])
    assert recipe.data.subset == word
    assert recipe.training["packing"] is False
    assert load("tiny", ["training.eval_strategy=no"]).training["eval_strategy"] == "no"
    with pytest.raises(UserError, match=f"expected bool, got '{word}'"):
        load("tiny", [f"training.packing={word}"])


@pytest.mark.parametrize("on", [True, False])
def test_activation_checkpointing_has_one_default(
    here: Path, monkeypatch: pytest.MonkeyPatch, *, on: bool
) -> None:
    """The plan and both predictions follow DEFAULTS; a program of the user's own has it off."""
    from hpclaunch.plan.layout import layout
    from hpclaunch.predict.compare import candidate_of
    from hpclaunch.predict.families import architecture
    from hpclaunch.predict.from_recipe import training_step_of
    from hpclaunch.predict.known_models import known_config

    monkeypatch.setitem(DEFAULTS, "gradient_checkpointing", on)
    Path("r.yaml").write_text(SMALL, encoding="utf-8")
    recipe = load("r.yaml")
    model = architecture(known_config("meta-llama/Llama-3.1-8B") or {})
    assert candidate_of(recipe).activation_checkpointing is on
    assert training_step_of(recipe, model).activation_checkpointing is on
    assert layout(recipe, 1, 4, "gpu", own_program=True).fsdp_activation_checkpointing is on
    own = load("r.yaml", own_program=True)
    assert not layout(own, 1, 4, "gpu", own_program=True).fsdp_activation_checkpointing
    asked = load("r.yaml", ["training.gradient_checkpointing=true"], own_program=True)
    assert layout(asked, 1, 4, "gpu", own_program=True).fsdp_activation_checkpointing
