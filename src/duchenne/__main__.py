"""`python -m duchenne`."""

from duchenne.cli import program

if __name__ == "__main__":
    program()
