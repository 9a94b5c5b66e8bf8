"""`python -m monitors.report`: a report on the nodes recorded in a folder."""

import sys

from monitors.report.build import main

if __name__ == "__main__":
    sys.exit(main())
