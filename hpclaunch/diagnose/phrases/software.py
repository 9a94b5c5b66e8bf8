"""What Python, pip and the loader print of software that does not fit."""

from __future__ import annotations

from hpclaunch.diagnose.phrases import Family, phrases

GLIBC: Family = {
    "glibc": phrases("version `GLIBC", "version `CXXABI", "version `GLIBCXX",
                     confirmed=r"version `[A-Z]+_[\d.]+' not found")
}  # fmt: skip
ABI: Family = {
    "abi": phrases(
        "undefined symbol: ", "binary incompatibility", "compiled using NumPy 1.x",
        "module compiled against ABI version", "compiled against API version",
        "_ARRAY_API not found", "numpy.core.multiarray failed to import",
        "were built against a different", "was compiled with a different version of",
    )
}  # fmt: skip
WRONG_WHEEL: Family = {
    "wrong_wheel": phrases(
        "is not a supported wheel on this platform", "requires a different Python",
        "require a different python version", "but the running Python is",
        "Requires-Python", "module was compiled for", "Python version mismatch",
        "bad magic number in", "invalid ELF header", "wrong ELF class",
        "cannot execute binary file", "Exec format error",
    )
}  # fmt: skip
MISSING_LIBRARY: Family = {
    "missing_library": phrases(
        "cannot open shared object file", "Could not load library lib",
        "Unable to load any of {lib",
        "libcuda.so cannot found", "CUDA Setup failed", "no libcuda.so",
    )
}  # fmt: skip
PACKAGE_INDEX: Family = {
    "package_index": phrases(
        "No matching distribution found for", "Could not find a version that satisfies",
        "Could not fetch URL https://", "Could not install packages due to",
    ),
    "pip_retry": phrases("WARNING: Retrying (Retry("),
}  # fmt: skip
OLD_PACKAGE: Family = {
    "old_package": phrases(
        "does not recognize this architecture", "data did not match any variant of untagged enum",
        "is not currently imported", "`rope_scaling` must be a dictionary",
        "`rope_scaling` must be", "unknown field `", "Unrecognized configuration class",
    )
}  # fmt: skip
NO_COMPILER: Family = {
    "no_compiler": phrases(
        "Failed to find C compiler", "CUDA_HOME does not exist", "CUDA_HOME environment variable",
        "MissingCUDAException", "CUDAMismatchException", "Error building extension",
        "Ninja is required to load", "does not match the version torch was compiled with",
        "unable to compile cuda/cpp", "nvcc not found", "fatal error: Python.h",
        "'nvcc'", "mismatches the version that was used to compile",
    )
}  # fmt: skip
NO_PACKAGE: Family = {
    "no_package": phrases(
        "ModuleNotFoundError: No module named", "No module named ", "is not installed",
        "seems to be not installed", "PackageNotFoundError", " requires bitsandbytes",
        "library but it was not found",
        "please install it", "Please install it", "pip install",
        confirmed=r"(?m)^(?:\[rank\d+\]: ?)?(?:ImportError|ModuleNotFoundError"
        r"|[\w.]*PackageNotFound|RuntimeError: .*not installed"
        r"|ValueError: .*(?:not installed|pip install))|library but it was not found",
    )
}  # fmt: skip
PACKAGE_VERSIONS: Family = {
    "package_versions": phrases(
        "cannot import name ", "VersionConflict", "is required for a normal functioning of",
        "DistributionNotFound", "Failed to import transformers.", "operator torchvision::",
    )
}  # fmt: skip
