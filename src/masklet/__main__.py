"""python -m masklet: the command line."""

from masklet.cli import main

main()
