"""`python -m scflows` is the command `flows`."""

from scflows.cli import main

if __name__ == "__main__":
    main()
