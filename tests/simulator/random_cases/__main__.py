"""`python tests/simulator/random_cases`: see `trying`."""

import sys

from trying import main

if __name__ == "__main__":
    sys.exit(main())
