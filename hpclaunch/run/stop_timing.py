"""Stopping in time: every wait and reserve of it, in seconds.

Time limit. The trainer decides after each step, by what it has measured (train/walltime.py):

    step | step | checkpoint        | launcher, sidecar and requeue | end of the allocation
         ^ stop here if the next step and a checkpoint, each SLOWDOWN_FACTOR times the slowest so
           far, and AFTER_CHECKPOINT_SECONDS would not fit before the end
                   | upload (checkpoints.sync_to), until REQUEUE_RESERVE_SECONDS before the end

Preemption. Slurm sends USR1 to the script, which writes the file RUN/stop; the trainer stops after
the current step:

    USR1 | rest of the step | checkpoint | upload, PREEMPTED_UPLOAD_SECONDS at most | requeue

Slurm sends the same USR1 before the time limit, SIGNAL_BEFORE_END_SECONDS ahead. The trainer stops
by itself then, so the script ignores a USR1 that comes less than TIME_LIMIT_SIGNAL_SECONDS ahead.
"""

AFTER_CHECKPOINT_SECONDS = 45.0
"""Reserved for what follows the last checkpoint: processes end, the sidecar closes its files, the
job is requeued. A second or two each where tried; file systems of a busy cluster take longer."""

SLOWDOWN_FACTOR = 1.3
"""How much longer than the slowest so far the next step or checkpoint may take."""

REQUEUE_RESERVE_SECONDS = 25.0
"""Left before the end of the allocation when an upload is given up, for the requeue."""

PREEMPTED_UPLOAD_SECONDS = 10.0
"""For the upload after a preemption's notice: nobody tells how long the grace period is."""

INTERRUPTED = "interrupted at the terminal"
"""Text of the stop file after Ctrl-C: save a checkpoint, no final weights, and end."""

TEST_RUN = "test run"
"""Text of the stop file of a test run, which loads the checkpoint after its first step."""

INTERRUPTED_SAVE_SECONDS = 20.0
"""For that checkpoint where it was a signal from outside and not Ctrl-C: Slurm kills 30 s after its
first signal (KillWait), and the processes need some of it to end."""

FINAL_UPLOAD_SECONDS = 3600.0
"""For the upload of a finished run without a time limit: its nodes wait for it."""

SIGNAL_BEFORE_END_SECONDS = 120
"""Of `#SBATCH --signal=B:USR1@120`: Slurm accepts no signal for preemption alone."""

TIME_LIMIT_SIGNAL_SECONDS = 200
"""A USR1 with less than this left before the end is the time limit's: Slurm may send it 60 s before
SIGNAL_BEFORE_END_SECONDS, and 20 s are reserve."""
