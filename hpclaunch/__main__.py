"""`python -P -m hpclaunch`: the command line, where its own program is not on PATH."""

from hpclaunch.cli.main import main

if __name__ == "__main__":
    main()
