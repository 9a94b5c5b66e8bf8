"""`make audit`: known weaknesses of the pinned packages, by pip-audit.

Exits with 1 where one is known, and with 2 where the data could not be reached: an index that has
no advisories says of every package that it does not know it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def verdict(report: dict[str, Any]) -> tuple[str, int]:
    """Return what pip-audit's JSON report says, in lines, and the exit code."""
    packages = report["dependencies"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, fixed in "
        f"{', '.join(found['fix_versions']) or 'no release yet'}"
        for each in packages
        for found in each.get("vulns", ())
    ]
    if len(skipped) == len(packages):
        return "the advisories cannot be reached: nothing was audited", 2
    code = 1 if lines else 0
    lines.append(f"{len(packages) - len(skipped)} packages audited, {len(lines)} weaknesses known")
    if skipped:
        lines.append(f"not audited, being unknown there: {', '.join(skipped)}")
    return "\n".join(lines), code


def main(program: str) -> int:
    """Audit the pins; `program` is pip-audit's path. Returns the exit code."""
    command = [program, "--no-deps", "--disable-pip", "-r", str(CONSTRAINTS), "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"the advisories cannot be reached: nothing was audited ({last[:200]})")
        return 2
    text, code = verdict(report)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
