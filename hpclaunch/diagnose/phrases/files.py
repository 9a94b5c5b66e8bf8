"""What is printed of disks, files, checkpoints and data."""

from __future__ import annotations

from hpclaunch.diagnose.phrases import Family, phrases

_NO_NETWORK = r"(?m)^(?!.*(?:NET/|NCCL|ibv_|c10d|TCPStore|[Ss]ocket|gloo|libfabric|UCX))"
"""The network between nodes has the same words for what it cannot do."""
QUOTA: Family = {"quota": phrases("Disk quota exceeded", "[Errno 122]", "os error 122")}
TOO_LARGE: Family = {"too_large": phrases("[Errno 27]", "os error 27)", "File too large")}
LONG_NAME: Family = {"long_name": phrases("File name too long", "[Errno 36]", "os error 36)")}
NO_FOLDER: Family = {"no_folder": phrases("[Errno 20] Not a directory", "os error 20)")}
DISK_FULL: Family = {
    "disk_full": phrases(
        "No space left on device", "[Errno 28]", "os error 28)", confirmed=r"(?m)^(?!.*inotify)"
    ),
    "torn_write": phrases(
        "basic_ios::clear: iostream error", " unexpected pos ", "OSError: error closing file"
    ),
}
FILE_SYSTEM: Family = {
    "stale": phrases(
        "Stale file handle",
        "Transport endpoint is not connected",
        "[Errno 116]",
        "transport endpoint shutdown",
        "[Errno 108]",
        confirmed=_NO_NETWORK,
    ),
    "host_down": phrases("[Errno 112]", "[Errno 70]", confirmed=r": ['\"]\.*/"),
    "no_lock_call": phrases("[Errno 38]", "[Errno 95]"),
    "read_only": phrases("Read-only file system", "[Errno 30]"),
    "no_locks": phrases(
        "No locks available",
        "[Errno 37]",
        "os error 37)",
        "[Errno 524]",
        "unable to lock file",
    ),
    "busy_file": phrases("[Errno 16] Device or resource busy: '/", "[Errno 26] Text file busy: '/"),
    "slow_disk": phrases("[Errno 110] Connection timed out: '/", "Connection timed out (os error"),
    "io_error": phrases(
        "Input/output error", "[Errno 5]", "os error 5)", "Remote I/O error", confirmed=_NO_NETWORK
    ),
}
NO_PERMISSION: Family = {
    "no_permission": phrases(
        "Permission denied", "[Errno 13]", "os error 13)",
        confirmed=r"Permission denied.*/|/.*Permission denied|rrno 13|error 13",
    )
}  # fmt: skip
MISSING_FILE: Family = {
    "missing_file": phrases(
        "No such file or directory", "Couldn't find any data file at",
        "does not appear to have a file named", "Repo id must be in the form", "Repo id must use",
        "Incorrect path_or_model_id", "Unable to find '/", "FileNotFoundError: ",
        "can't open file '", "Can't find a valid checkpoint at", "o valid checkpoint found in",
        "data files found in /", "doesn't contain any data files",
        "Can't find 'adapter_config.json' at '/", "Error no file named ",
        "RuntimeError: Parent directory ",
        confirmed=r"(?m)^(?!.*build variant)(?=.*(?:valid checkpoint|Files?NotFoundError|EmptyData"
        r"|OSError|EnvironmentError|HFValidationError|can't open file|Parent dir|adapter_config))",
    )
}  # fmt: skip
TORN_FILE: Family = {
    "torn_file": phrases(
        "PytorchStreamReader failed", "Error while deserializing header", "HeaderTooLarge",
        "MetadataIncompleteBuffer", "Ran out of input", "unexpected EOF", "UnpicklingError",
        "pickle data was truncated", "not a ZIP archive", "BadZipFile", "invalid load key",
        "InvalidHeader", "file is truncated", "File is too small", "Compressed file ended before",
        "mmap length is greater than file size", "unexpected end of data", "truncated file: eof",
        "CRC check failed", "Error -3 while decompressing", "Error -5 while decompressing",
        confirmed=r"(?m)^(?!.*(?:Weights only load failed|unexpected EOF while"
        r"|requests\.exceptions\.InvalidHeader))",
    )
}  # fmt: skip
JSON_ERROR: Family = {
    "json_error": phrases("JSONDecodeError", "JSON decode error", "is not a valid JSON file")
}
WRONG_CHECKPOINT: Family = {
    "wrong_checkpoint": phrases(
        "size mismatch for ", "Missing key(s) in state_dict", "Unexpected key(s) in state_dict",
        "loaded state dict contains a parameter group", "loaded state dict has a different number",
        "Missing key in checkpoint state_dict", "Size mismatch between saved",
        "used a DP world size of", "does not match the checkpoint",
    )
}  # fmt: skip
BAD_DATA: Family = {
    "bad_row": phrases(
        "repair the row or take it out", "JSON parse error", "DatasetGenerationError",
        "pyarrow.lib.ArrowInvalid", "DatasetGenerationCastError",
        "because column names don't match",
        "new columns (", "missing columns (", "Parquet magic bytes not found",
        confirmed=r"(?m)^(?!.*(?:offset overflow|while concatenating))",
    )
}  # fmt: skip
ARROW_LIMIT: Family = {
    "arrow_limit": phrases(
        "Try to reduce writer_batch_size", "offset overflow while concatenating",
        "not implemented for chunked array outputs", "straddling object straddles",
        "array cannot contain more than",
        confirmed=r"OverflowError: |\bArrow\w+: ",
    )
}  # fmt: skip
COMPRESSED: Family = {
    "compressed": phrases(
        "can't decode byte 0x8b in position 1", "can't decode byte 0xb5 in position 1"
    )
}
EMPTY_DATA: Family = {
    "empty_data": phrases(
        "is out of bounds for size 0", "got num_samples=0",
        confirmed=r"(?:IndexError: Invalid key: \d+|ValueError: num_samples) ",
    )
}  # fmt: skip
CALIBRATION: Family = {"calibration": phrases("not positive-definite", "not positive definite")}
