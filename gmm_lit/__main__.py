"""`python -m gmm_lit`: see the notebook 15_command_line."""
import sys

from gmm_lit.command_line import main

if __name__ == "__main__":
    sys.exit(main())
