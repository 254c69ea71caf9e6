"""`python -m archsearch`, for where the command is not on the path."""

from archsearch.cli import main

if __name__ == "__main__":  # processes of workers import this file, too
    main()
