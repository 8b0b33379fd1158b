"""Run the command `flows` with `python -m scflows`."""

from scflows.cli import main

if __name__ == "__main__":
    main()
