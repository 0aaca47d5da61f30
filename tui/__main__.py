"""``python -m tui`` is ``muster``."""

import sys

from tui.entry import main

sys.exit(main())
