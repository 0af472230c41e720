"""`python -m enginebay.cli`."""

from enginebay.cli.main import main

main()
