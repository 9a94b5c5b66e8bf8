"""Software that does not fit: the node's libraries, the Python, or other packages."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.packages import OWN, PIP, REBUILT, package_of
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_VERSION = re.compile(r"version `(\w+_[\d.]+)' not found")
_LIBRARY = re.compile(r"([\w.+-]+\.so(?:\.[\d.]+)?): cannot open shared object")
_VENDOR = re.compile(
    r"((?:libtorch|libc10|libcu|libnv|libnccl)\w*)\.so[.\d]*: undefined symbol: _*"
    r"(nccl|cudnn|cublas|cusparse|cusolver|cufft|nvJitLink|nvrtc|cupti)"
)
"""One of NVIDIA's libraries that does not fit the one it calls: two copies are mixed."""
_NO_LIBRARY = re.compile(
    r"(?s)bitsandbytes.*(?:'NoneType' object has no attribute|name '\w+' is not defined"
    r"|RuntimeError: .*(?:bitsandbytes|CUDA|library|lib)|has no attribute '\w+')"
)
"""How bitsandbytes fails where it found no compiled library, and only warned of it."""
_OF = re.compile(r"cannot import name '?(\w+)'? from '?([\w.]+)")


def _rebuild(name: str) -> str:
    isolated = " --no-build-isolation" if name in REBUILT else ""
    return f"python -m pip install --force-reinstall --no-deps --no-cache-dir{isolated} {name}"


def _who(evidence: RunEvidence, line: Clue) -> tuple[int | None, str | None]:
    return advice.who(evidence, line)


def glibc(evidence: RunEvidence) -> Cause | None:
    """A package was built for a newer system than the node's."""
    line = evidence.root_cause_line("glibc")
    if line is None:
        return None
    match = _VERSION.search(line.text)
    version = match[1] if match else "a newer version"
    name = package_of(line.text)
    what, library = name or "a package", "C++ library" if "XX" in version or "CXX" in version else (
        "C library (glibc)"
    )  # fmt: skip
    newer = (
        "a newer one may come with a module of GCC (module avail gcc), or with conda: "
        "conda install -c conda-forge libstdcxx-ng"
    )
    built = f"build {what} on the cluster instead of taking a ready wheel: "
    steps = (
        newer if library == "C++ library" else
        f"{built}{_rebuild(name) + ' --no-binary ' + name if name else 'see its own instructions'}",
        "or take an older release of it, or run the job in a container of a newer system",
        advice.resume(evidence),
    )  # fmt: skip
    headline = f"{what} needs {version}: the node's {library} is older"
    return Cause(headline, steps, (line,), *_who(evidence, line))


def abi(evidence: RunEvidence) -> Cause | None:
    """A compiled package was built for another version of what it is linked against."""
    line = evidence.root_cause_line("abi")
    if line is None:
        return None
    if "Numpy is not available" in line.text:
        line = evidence.context_line("abi") or line
    vendor = _VENDOR.search(line.text)
    if vendor:
        return _two_copies(evidence, line, vendor)
    name = package_of(line.text)
    if re.search(r"numpy|N[Uu]m[Pp]y|_ARRAY_API|multiarray|API version", line.text):
        culprit = package_of(evidence.last_words.replace(line.text, ""))
        headline = "a package was compiled for another NumPy (binary incompatibility with numpy)"
        steps = [
            "take the NumPy that it was built for: python -m pip install 'numpy<2'",
            f"or build it anew: {_rebuild(culprit)}" if culprit else
            "or install the package anew, in a release for this NumPy",
        ]  # fmt: skip
    else:
        what = name or "a compiled package"
        against = "version of a library"
        if re.search(r"c10|torch|_ZN2at", line.text):
            against = "PyTorch"
        elif re.search(r"symbol: _?Py", line.text):
            against = "Python"
        headline = f"{what} was built for another {against} (ABI mismatch): {line.text}"
        steps = [f"install it anew for the one that is here: {_rebuild(name)}" if name else
                 "install it anew, for the libraries that are here"]  # fmt: skip
    return Cause(headline, (*steps, advice.resume(evidence)), (line,), *_who(evidence, line))


def _two_copies(evidence: RunEvidence, line: Clue, vendor: re.Match[str]) -> Cause:
    """Another copy of one of NVIDIA's libraries is found before the one that PyTorch brings."""
    steps = (
        f"a module or LD_LIBRARY_PATH brings another {vendor[2]}, which is found before PyTorch's "
        "own: module unload it, or unset LD_LIBRARY_PATH",
        "see both: echo $LD_LIBRARY_PATH; python -m pip list | grep nvidia",
        advice.resume(evidence),
    )
    headline = f"{vendor[1]} finds another {vendor[2]} than its own: {line.text}"
    return Cause(headline, steps, (line,), *_who(evidence, line))


def wrong_wheel(evidence: RunEvidence) -> Cause | None:
    """A package is for another Python, or another kind of processor."""
    line = evidence.root_cause_line("wrong_wheel")
    if line is None:
        return None
    headline = f"a package is for another Python or processor: {line.text}"
    steps = (
        "compare with the job's Python: python -c 'import sys, platform; print(sys.version, "
        "platform.machine())'; in a wheel's name cp311 is Python 3.11",
        "install the release for it, or make the environment with the Python that is needed",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (line,), *_who(evidence, line))


def missing_library(evidence: RunEvidence) -> Cause | None:
    """A shared library is not there on the node."""
    line = evidence.root_cause_line("missing_library")
    if line is None and _NO_LIBRARY.search(evidence.last_words):
        line = evidence.context_line("missing_library")
    if line is None or "torch_extensions/" in line.text:
        return None
    if "bitsandbytes" in line.text or "CUDA VERSION MISMATCH" in line.text:
        fixes = (
            "take a release of bitsandbytes with a library for the CUDA of this PyTorch: python -m "
            "pip install --upgrade bitsandbytes",
            "which it looked for: python -m bitsandbytes, on the node",
            advice.resume(evidence),
        )
        headline = "bitsandbytes has no compiled library for the CUDA that is here"
        return Cause(headline, fixes, (line,), *_who(evidence, line))
    if "libcuda.so" in line.text:
        fixes = (
            "it comes with the driver: in a container of Apptainer --nv brings it, in others the "
            "NVIDIA runtime; a node without GPUs has none",
            "where it lies elsewhere (ldconfig -p | grep libcuda), Triton takes its folder from "
            "TRITON_LIBCUDA_PATH",
            advice.resume(evidence),
        )
        headline = f"the driver's own library is not found: {line.text}"
        return Cause(headline, fixes, (line,), *_who(evidence, line))
    match = _LIBRARY.search(line.text)
    name = match[1] if match else ""
    base = name.partition(".so")[0].removeprefix("lib")
    find = f": module spider {base}" if base else ""
    headline = f"the shared library {name} is not there on the node" if name else line.text
    of_opencv = (
        name.startswith(("libGL.", "libgthread"))
        and package_of(evidence.last_words) == (PIP["cv2"])
    )
    headless = (
        "python -m pip uninstall opencv-python, then install opencv-python-headless: it needs no "
        "screen",
    )
    steps = (
        *(headless if of_opencv else ()),
        f"load the module that brings it{find}; --module of hpclaunch sbatch gives it to the job",
        "or install the package that needs it for the CUDA and libraries that are here",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (line,), *_who(evidence, line))


def old_package(evidence: RunEvidence) -> Cause | None:
    """Transformers, tokenizers or datasets is older than the files that it reads."""
    line = evidence.root_cause_line("old_package")
    if line is None:
        return None
    name = "tokenizers" if re.search(r"untagged enum|unknown field", line.text) else "transformers"
    name = "datasets" if "feature types" in line.text else name
    both = "transformers tokenizers" if name == "tokenizers" else name
    steps = (f"python -m pip install --upgrade {both}", advice.resume(evidence))
    what = {"tokenizers": "the model's tokenizer.json", "datasets": "the data"}.get(
        name, "this model"
    )
    headline = f"{name} is too old for {what}: {line.text}"
    return Cause(headline, steps, (line,), *_who(evidence, line))


def versions(evidence: RunEvidence) -> Cause | None:
    """Two packages are of versions that do not fit each other."""
    line = evidence.root_cause_line("package_versions")
    if line is None:
        return None
    if evidence.root_cause_line("no_package") and "cannot import name" not in line.text:
        return None
    if "partially initialized" in line.text:  # its own file hides a package, or imports in a ring
        return None
    if evidence.root_cause_line("abi", "glibc", "missing_library", "wrong_wheel"):
        return None
    match = _OF.search(line.text)
    headline = line.text
    steps = [
        "see what does not fit: python -m pip check",
        "install together what belongs together: python -m pip install --upgrade transformers trl "
        "peft accelerate",
    ]
    if "torchvision" in line.text:
        steps[1] = "install together: python -m pip install --upgrade torch torchvision torchaudio"
    if match:
        top = match[2].partition(".")[0]
        name = PIP.get(top, top)
        headline = f"{name} has no {match[1]}: it is of another version than what imports it"
        steps[0] = f"which version it is: python -m pip show {name}; what does not fit: " + (
            "python -m pip check"
        )
        if top in OWN:
            return None
    return Cause(headline, (*steps, advice.resume(evidence)), (line,), *_who(evidence, line))
