"""The command `flows`, run from a checkout."""

from scflows.cli import main

if __name__ == "__main__":
    main()
