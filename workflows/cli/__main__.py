"""Entry point of `python -m workflows.cli`, for machines without the installed script."""

from workflows.cli.entry import main

if __name__ == "__main__":
    main()
