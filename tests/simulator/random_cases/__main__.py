"""`python tests/simulator/random_cases`: see `trying_cases`."""

import sys

from trying_cases import main

if __name__ == "__main__":
    sys.exit(main())
