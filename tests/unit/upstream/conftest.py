"""Lets the tests here import the modules beside them and the network in memory of the wire tests."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent

for folder in (HERE, HERE.parents[1] / "wire"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
