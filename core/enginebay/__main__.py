"""`python -m enginebay`: the command line."""

from enginebay.cli.main import main

main()
