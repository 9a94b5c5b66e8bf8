"""What the hub's client prints."""

from __future__ import annotations

from hpclaunch.diagnose.phrases import Family, phrases

OFFLINE: Family = {
    "offline": phrases(
        "couldn't connect to 'http", "OfflineModeIsEnabled", "LocalEntryNotFoundError",
        "outgoing traffic has been disabled", "which works offline",
        "fetch it where there is internet", "offline mode is enabled", "on the Hub (",
        "Cannot reach http", "Couldn't find cache for ",
        "cannot find the requested files in the cached path",
        confirmed=r"(?m)^(?!.*Cannot pass )",
    )
}  # fmt: skip
NOT_FOUND: Family = {
    "not_found": phrases(
        "RepositoryNotFoundError", "Repository Not Found", "DatasetNotFoundError",
        "RevisionNotFoundError", "has no such revision", "not a valid model identifier",
        "is not on the hub", "no model called", "no dataset called", "Entry Not Found for url",
    )
}  # fmt: skip
NO_ACCESS: Family = {
    "gated": phrases(
        "GatedRepoError", "gated repo", " is gated", "gated dataset", "Invalid user token",
        "Invalid credentials in Authorization", "not in the authorized list",
        confirmed=r"(?m)^(?!.*a private or gated )(?=.*(?:[Rr]epo|dataset|uthoriz|token|redential"
        r"|huggingface|access))",
    )
}  # fmt: skip
