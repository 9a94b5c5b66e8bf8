"""What `hpclaunch watch` shows: gathered once a tick, then drawn, printed or served."""
