"""`python -m duchenne`."""

from duchenne.cli import main

if __name__ == "__main__":
    main()
