"""Programs that begin as a fork of one process which has their imports behind it.

A training's processes spend some 5 s of CPU time each in imports that are the same every time.
Here `accelerate-launch`, its ranks and `python -m module` begin as forks of a process that has
torch and Transformers, and commands of `hpclaunch` as forks of one that has the command line: the
code they run is the product's own and that of its libraries, and process ids, parents, signals,
sessions, streams, exit codes, and the command lines and variables that /proc shows are real.

What a fork cannot show: the order of imports, variables that are read while importing, and the
interpreter's own start and end. Some tests therefore start the real programs (`launch_real` in
`tests.train.running`, `real` of `tests.cli.running.Home.call`, and what is marked `real_start` in
`tests/slurm`), and a program whose environment differs in a variable that is read at import is
never forked.
"""
