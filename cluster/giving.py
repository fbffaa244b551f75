"""What the balancer and an API server of its host say to each other about connections that are given away.

They talk over a Unix socket of sequenced packets. The balancer sends a number, with a client's socket beside it; the
server answers `TAKEN` and the number before it reads anything, and `CLOSED` and the number at the end. Decision 0037.
"""

from __future__ import annotations

import struct
from typing import Final

NUMBER: Final = struct.Struct(">Q")
TAKEN: Final = b"T"
CLOSED: Final = b"C"
NEWS_BYTES: Final = 1 + NUMBER.size
