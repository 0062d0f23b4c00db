"""`python -m dcm` is `dcm`."""

from dcm.cli import main

if __name__ == "__main__":
    main()
