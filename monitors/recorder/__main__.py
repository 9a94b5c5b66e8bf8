"""`python -m monitors.recorder`: the sidecar."""

import sys

from monitors.recorder.sidecar import main

if __name__ == "__main__":
    sys.exit(main())
