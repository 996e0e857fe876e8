"""As it was known then: adopted versions, the inbox, an actor and a turn's approvals, with nothing from later."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom import Loom
from loom.errors import OutOfRangeError
from tests.explorer.support import DISCOUNT, DiscountAgent, asked


async def test_what_was_recorded_later_cannot_be_seen(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[DiscountAgent], by="mira") as loom:
        turn = await asked(loom)
        [waiting] = await loom.approvals.pending()
        first = loom.store.acknowledged
        await loom.approvals.grant(waiting.approval_id, by="vera")
        assert await turn
        version = await loom.policies.register(DISCOUNT.with_params(ceiling=20), by="olga")
        await loom.policies.adopt(version.hash, by="vera")
        last = loom.store.acknowledged

        then, now = await loom.replay.as_of(first), await loom.replay.as_of(last)

        assert [each.approval_id for each in (await then.inbox()).waiting] == [waiting.approval_id]
        assert (await now.inbox()).waiting == ()
        assert [(await each.adopted())[0].version.number for each in (then, now)] == [1, 2]
        [before] = await then.approvals(waiting.journal, str(waiting.command_id))
        [after] = await now.approvals(waiting.journal, str(waiting.command_id))
        assert (before.status, after.status, after.answered_by) == ("pending", "granted", "vera")
        actors = [await each.actor(waiting.journal) for each in (then, now)]
        assert actors[0] is not None
        assert actors[1] is not None
        assert max(each.position for each in actors[0].entries) <= first
        assert max(each.position for each in actors[1].entries) > first
        assert await (await loom.replay.as_of(1)).actor(waiting.journal) is None
        for position in (0, last + 1):
            with pytest.raises(OutOfRangeError, match="is not in the journal"):
                await loom.replay.as_of(position)
