"""What the ranks execute. The only package that imports torch: started as a program, not imported.

`accelerate launch ... -m hpclaunch.train RUN` trains; `python -m hpclaunch.train.prepare RUN`
brings model and data onto the machine beforehand; `python -P -m hpclaunch.train.sample RUN` shows
what came of it.
"""
