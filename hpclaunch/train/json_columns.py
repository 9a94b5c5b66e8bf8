"""Columns of JSON in datasets: numbers exactly as they were written."""

from __future__ import annotations

import functools
import json


def keep_numbers_exact() -> None:
    """Have `datasets` read and write columns of JSON with all digits of a number.

    Its own functions write ten digits, and read 0.3 as 0.30000000000000004: a chat template would
    write that into the arguments of a tool call.
    """
    from datasets.features import features
    from datasets.utils import json as json_functions

    for module in (features, json_functions):
        module.ujson_loads = json.loads
        module.ujson_dumps = functools.partial(json.dumps, ensure_ascii=False, default=str)
