"""The command line as `python -m stefaland`, the same as the script `stefaland`.

It is a program and not part of the library: no module imports it, so it may import `workflows`.
"""

from workflows.cli import main

if __name__ == "__main__":
    main()
