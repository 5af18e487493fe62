"""``python -m kafkalab`` is the command ``kafkalab``."""

import sys

from kafkalab.cli.main import main

sys.exit(main())
