"""Where a programme that only tries things out may run: in networks that say so by their name.

The name stands in the origin of every entry, so nobody can take what was tried for what counts.
"""

from __future__ import annotations

from typing import Final

from comity.errors import Refused
from node.programme import Programme

PREFIX: Final = "sandbox."


def check_sandbox(programme: Programme, network: str) -> None:
    """Raises Refused for a programme in sandbox mode in a network that is no sandbox."""
    if programme.sandbox and not network.startswith(PREFIX):
        raise Refused(
            f"The programme says `sandbox: true` and {network} is no sandbox; its name would begin "
            f"with {PREFIX} Take the line out, or found a network to try things in."
        )
