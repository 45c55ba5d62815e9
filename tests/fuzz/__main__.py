"""`python tests/fuzz`: see `fuzzing`."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS.parent))
sys.path += [str(TESTS / folder) for folder in ("", "simulator", "simulator/endpoint")]  # whose doubles are used

from fuzzing import main  # noqa: E402 (it needs the path)

if __name__ == "__main__":
    sys.exit(main())
