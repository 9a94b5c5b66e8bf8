"""Programs that begin as a fork of one process which has torch and Transformers imported already.

A training's processes spend some 5 s of CPU time each in imports that are the same every time. Here
`accelerate-launch`, its ranks and `python -m module` begin as forks instead: the code they run is
the product's own and that of its libraries, and process ids, parents, signals, sessions, streams
and exit codes are real.

What a fork cannot show: the order of imports, variables that are read while importing, and the
interpreter's own start and end. Some tests therefore start the real programs (`REAL` in
`tests.train.running`), and a program whose environment differs in a variable that is read at
import is never forked.
"""
