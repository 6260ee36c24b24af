"""python -m workflows.cli: the command line where its script is not installed."""

from workflows.cli.entry import main

if __name__ == "__main__":
    main()
