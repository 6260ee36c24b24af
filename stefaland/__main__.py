"""python -m stefaland: the command line, as the script `stefaland` runs it.

A program and no part of the library: nothing imports it, so it may stand on what lies above.
"""

from workflows.cli import main

if __name__ == "__main__":
    main()
