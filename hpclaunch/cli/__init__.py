"""The command line: one file a command that parses, calls and prints; no decisions."""

import gc

# Collecting garbage while importing takes a tenth of a short command's time and finds none; the
# commands that run for long (following a job) switch it on again.
gc.disable()
