"""Log keys are exchanged in bad weather, while everybody trades and machines die."""

from __future__ import annotations

import pytest

from comity.errors import Malformed
from comity.log.history import KeyHistory, rotation_message
from comity.log.note import VerifierKey
from comity.v1.operator_pb2 import RotateParticipantKeyRequest
from tests.simulation import identities
from tests.simulation.people import insist
from tests.simulation.story import DEEDS, Story, tell
from tests.world import BRANDS

EXCHANGES = 8


async def exchange_key(story: Story) -> None:
    """The operator exchanges a brand's key, at once or a few entries on."""
    brand, operator = story.draw.choice(BRANDS), story.world.operator
    listed = await insist(operator.list_participants)
    (one,) = (each for each in listed if each.participant == brand)
    history = KeyHistory.parse(one.keys)
    assert history.current is not None
    key = identities.next_keys(brand)[len(history.retired)]
    old = [identities.key(f"log {brand}"), *identities.next_keys(brand)][len(history.retired)]
    new = str(VerifierKey.of(one.origin, key.public))
    message = rotation_message(str(history.current), new)
    request = RotateParticipantKeyRequest(
        id=story.world.new_id("rotate"),
        participant=brand,
        vkey=new,
        new_signature=key.sign(message),
        old_signature=old.sign(message),
        last_size=one.head_size + story.draw.randrange(0, 16),
    )
    try:
        await insist(lambda: operator.rotate_participant_key(request))
    except Malformed:
        # Meanwhile clearing has relied on more, or somebody else has exchanged the key.
        story.counts["key not exchanged"] += 1
    else:
        story.counts["key exchanged"] += 1


@pytest.mark.parametrize("seed", range(1, 7))
def test_nothing_is_lost_or_done_twice_while_keys_are_exchanged(seed: int) -> None:
    story = tell(seed, (*DEEDS, *(exchange_key,) * EXCHANGES))
    assert story.counts["key exchanged"], dict(story.counts)
