"""What the ranks execute. The only room that imports torch; started as a program, never imported.

`accelerate launch ... -m hpclaunch.train RUN` trains; `python -m hpclaunch.train.prepare RUN`
brings model and data onto the machine beforehand; `python -m hpclaunch.train.sample RUN` shows
what came of it.
"""
