"""``python -m tui`` is ``muster``."""

import sys

from tui.cli import main

sys.exit(main())
