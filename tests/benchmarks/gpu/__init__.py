"""One real GPU in under ten minutes: `python -m tests.benchmarks.gpu KIND [PART ...]`."""
