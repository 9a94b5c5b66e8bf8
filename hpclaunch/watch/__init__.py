"""What `hpclaunch watch` shows: read once per refresh, then drawn, printed or served."""
