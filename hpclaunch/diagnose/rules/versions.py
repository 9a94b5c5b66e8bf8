"""Programs written for another Python, or for another version of a package than is installed."""

from __future__ import annotations

import re
import sys

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.packages import MODULES, PIP, package_of
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_PYTHON = re.compile(r"/python3\.(\d+)/")
_UNION = 10
"""The Python 3 from which on `X | None` is a type."""
_MODULE = re.compile(r"(?:from (?:partially initialized module )?|module )'?([\w.]+)'?")
_FILE = re.compile(r"\((?:consider renaming )?'?(/[^()']+\.py)'?")
_PACKAGES = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python3")
_ARGUMENT = re.compile(
    r"TypeError: (?:\w+\.)*?(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'"
)
_TAKERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("trl", re.compile(r"(?:SFT|DPO|KTO|GRPO|PPO|ORPO|RLOO|CPO|GKD|Reward)(?:Trainer|Config)$")),
    ("transformers", re.compile(r"(?:Seq2Seq)?(?:Trainer|TrainingArguments)$|\w+ForCausalLM$")),
    ("peft", re.compile(r"Lo\w+Config$|PeftModel|get_peft_model$")),
    ("accelerate", re.compile(r"Accelerator$|FullyShardedDataParallelPlugin$")),
    ("datasets", re.compile(r"load_dataset$|BuilderConfig$")),
    ("vllm", re.compile(r"LLM$|EngineArgs$|SamplingParams$")),
)
"""Whose classes and functions programs call, by name."""


_ATTRIBUTE = re.compile(
    r"AttributeError: (?:module '([\w.]+)'|(?:type object )?'(\w+)'(?: object)?) has no attribute "
    r"'(\w+)'"
)
_CLASSES = {
    "Accelerator": "accelerate", "AcceleratorState": "accelerate", "PartialState": "accelerate",
    "FullyShardedDataParallelPlugin": "accelerate", "DeepSpeedPlugin": "accelerate",
    "TrainingArguments": "transformers", "GenerationConfig": "transformers",
    "PreTrainedTokenizerFast": "transformers", "DynamicCache": "transformers",
    "TrainerState": "transformers", "BitsAndBytesConfig": "transformers",
    "LoraConfig": "peft", "PeftConfig": "peft", "LoraModel": "peft",
    "DeepSpeedEngine": "deepspeed", "HfApi": "huggingface_hub", "Params4bit": "bitsandbytes",
}  # fmt: skip
"""Whose class it is, by name; those that a program's own class is likely to be called are not."""
_CALLED = re.compile(r"TypeError: (?:[\w<>]+\.)*?(\w+)\.(?!forward|__)(\w+)\(\) ")
"""A method that was called with arguments that it does not take; what a model or a data collator
takes is no matter of versions."""
_FRAME = re.compile(r'File "([^"]+)", line \d+, in ')


def hidden(evidence: RunEvidence) -> Cause | None:
    """A file of the program has the name of a package, and is imported in its place."""
    line = evidence.root_cause_line("hidden_package")
    if line is None:
        return None
    instead = re.search(r"; '(\w+)' is not a package", line.text)
    if instead and instead[1] in MODULES:
        where = f"python -c 'import {instead[1]}; print({instead[1]}.__file__)'"
        step = f"find it where the program starts: {where}; give it another name, and remove "
        headline = f"a file {instead[1]}.py of the program hides the package {instead[1]}"
        return advice.cause(evidence, line, headline, f"{step}__pycache__ beside it")
    file = _FILE.search(line.text)
    named = _MODULE.search(line.text)
    if file is None or named is None or _PACKAGES.search(file[1]):
        return None
    package = named[1].partition(".")[0]
    if package not in MODULES | PIP.keys() | sys.stdlib_module_names:
        return None
    if f"/{package}.py" not in file[1] and f"/{package}/__init__.py" not in file[1]:
        return None
    steps = (f"give {file[1]} another name, and remove __pycache__ beside it",)
    headline = f"{file[1]} hides the package {package}: it is imported in its place"
    return advice.cause(evidence, line, headline, *steps)


def circular(evidence: RunEvidence) -> Cause | None:
    """Two modules of the program ask each other for what is not there yet."""
    line = evidence.root_cause_line("hidden_package")
    file = _FILE.search(line.text) if line else None
    if line is None or file is None or "circular import" not in line.text:
        return None
    if _PACKAGES.search(file[1]):
        return None
    step = (
        f"{file[1]} is asked while it is still being read: let one of the two import the other "
        "within the function that needs it, or put what both need into a third"
    )
    headline = f"modules of the program import each other: {line.text}"
    return advice.cause(evidence, line, headline, step)


def old_python(evidence: RunEvidence) -> Cause | None:
    """The program uses what this Python does not have yet."""
    line = evidence.root_cause_line("old_python")
    if line is None:
        return None
    version = _PYTHON.search(evidence.last_words)
    if version is not None and int(version[1]) >= _UNION:
        return None
    which = f"Python 3.{version[1]}" if version else "the job's Python"
    steps = (
        "take a newer Python in the job's environment (python --version in the job shows it); "
        "--venv of hpclaunch names another environment",
    )
    headline = f"{which} is too old for the program: {line.text}"
    return advice.cause(evidence, line, headline, *steps)


def arguments(evidence: RunEvidence) -> Cause | None:
    """The installed version of a package does not take what the program passes to it."""
    line = evidence.root_cause_line("unknown_argument")
    match = _ARGUMENT.search(line.text) if line else None
    if line is None or match is None:
        return None
    package = next((name for name, taker in _TAKERS if taker.match(match[1])), None)
    if package is None:
        return None
    steps = (
        f"which version it is: python -m pip show {package}; its release notes say what became of "
        f"'{match[2]}'",
        "change the call, or install the version that the program was written for",
    )
    headline = (
        f"the installed {package} takes no '{match[2]}' for {match[1]}: the program, or a file "
        "that it reads, is of another version"
    )
    return advice.cause(evidence, line, headline, *steps)


def protobuf(evidence: RunEvidence) -> Cause | None:
    """Code that was generated for an older protobuf than is installed."""
    line = evidence.root_cause_line("protobuf")
    if line is None:
        return None
    steps = (
        "see which package needs which: python -m pip check; python -m pip show protobuf",
        "upgrade the package that the traceback names, or install 'protobuf<3.21' for it",
    )
    headline = "protobuf is newer than a package that uses it was made for"
    return advice.cause(evidence, line, headline, *steps)


def weights_only(evidence: RunEvidence) -> Cause | None:
    """torch.load, from 2.6 on, takes only tensors, and the file holds other Python objects."""
    line = evidence.root_cause_line("weights_only")
    if line is None:
        return None
    steps = (
        "where you trust the file, and your program loads it: torch.load(..., weights_only=False)",
        "where transformers or another package loads it, upgrade that package: its newer releases "
        "know of it (PyTorch 2.6 changed the default)",
    )
    headline = (
        "PyTorch refuses a file with Python objects beside the tensors: Weights only load failed"
    )
    return advice.cause(evidence, line, headline, *steps)


def between_packages(evidence: RunEvidence) -> Cause | None:
    """A package asks another one for what the installed version of that one does not have.

    Only where the package itself asks: a user's own line may as well have a slip of the pen.
    """
    line = evidence.root_cause_line("no_attribute")
    match = _ATTRIBUTE.search(line.text) if line else None
    if line is None or match is None:
        return None
    package = match[1].partition(".")[0] if match[1] else _CLASSES.get(match[2], "")
    if match[1] and package not in MODULES:
        return None
    package = PIP.get(package, package)
    asking = [package_of(file) for file in _FRAME.findall(evidence.last_words)]
    if asking[-1:] == ["accelerate"] and match[3] in {"train", "eval"}:
        package = "accelerate"  # it hands on to the optimizer what a newer Trainer calls
    asks = next((name for name in reversed(asking) if name != package), "")
    if not package or not asks:
        return None
    steps = (
        f"see both: python -m pip show {asks} {package}; what does not fit: python -m pip check",
        f"install them together: python -m pip install --upgrade {asks} {package}",
    )
    headline = f"{asks} does not fit the installed {package}: {line.text}"
    return advice.cause(evidence, line, headline, *steps)


def other_arguments(evidence: RunEvidence) -> Cause | None:
    """A package calls a method with other arguments than it takes: it is of another release."""
    line = evidence.root_cause_line("other_arguments")
    match = _CALLED.search(line.text) if line else None
    files = _FRAME.findall(evidence.last_words)
    asks = package_of(files[-1]) if files else ""
    if line is None or match is None or not asks:
        return None
    owner = next((name for name, taker in _TAKERS if taker.match(match[1])), "")
    if owner == asks:
        return None
    install = (
        f"install them together: python -m pip install --upgrade {asks} {owner}"
        if owner
        else f"where {match[1]} is your program's: let {match[2]} take what {asks} passes"
    )
    steps = (
        f"which version it is: python -m pip show {asks}; what does not fit: python -m pip check",
        install,
    )
    headline = f"{match[1]}.{match[2]} was written for another release of {asks}: {line.text}"
    return advice.cause(evidence, line, headline, *steps)
