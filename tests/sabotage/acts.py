"""The acts of sabotage: one guard of loom's taken away each, and the tests that have to miss it.

To add one: name the function that holds the guard, the line of it that goes and what is written instead, and the tests
of that room. `make sabotage` fails where an act survives, and where the line is not there any more.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACTS", "Act"]


@dataclass(frozen=True)
class Act:
    """One guard taken away: in `function` of `file`, `line` is replaced by `instead`; `tests` have to fail."""

    name: str
    file: str
    function: str
    """The function, or `Class.function`."""
    line: str
    """What is in the function exactly once."""
    instead: str
    tests: tuple[str, ...]


ACTS: tuple[Act, ...] = (
    Act(
        "a limit below one is let through",
        "loom/identity.py",
        "check_limit",
        "if limit < 1:",
        "if limit < -100:",
        ("tests/test_limits.py",),
    ),
    Act(
        "NaN is admitted",
        "loom/journal/admission.py",
        "_number",
        "if not math.isfinite(value):",
        "if False:",
        ("tests/journal/test_admission.py",),
    ),
    Act(
        "a body is hashed without its salt",
        "loom/journal/chain.py",
        "body_digest",
        "hashlib.sha256(salt + body)",
        "hashlib.sha256(body)",
        ("tests/journal/test_chain.py",),
    ),
    Act(
        "another command under a known id is taken for the same one",
        "loom/actors/post.py",
        "_check_same",
        "elif _canonical(first) != _canonical(entry):",
        "elif False:",
        ("tests/actors/test_commands.py",),
    ),
    Act(
        "an actor may ask in a circle",
        "loom/actors/post.py",
        "Post._check_circle",
        "if at == sender.cell.journal:",
        "if False:",
        ("tests/actors/test_asking.py",),
    ),
    Act(
        "equal steps in flight are not told apart",
        "loom/actors/turn.py",
        "Turn.step",
        "if (verb, key) in self._in_flight and verb not in _IMMEDIATE:",
        "if False:",
        ("tests/actors/test_turn.py",),
    ),
    Act(
        "a version whose document does not give its hash is loaded",
        "loom/policies/registry.py",
        "_check",
        "if version_hash(entry.document) != entry.hash:",
        "if False:",
        ("tests/policies/test_registry.py",),
    ),
    Act(
        "a number under its floor passes the gate",
        "loom/gate/validation.py",
        "bound_broken",
        "if number < floor:",
        "if False:",
        ("tests/gate/test_bounds.py",),
    ),
    Act(
        "a number below zero needs no floor",
        "loom/gate/validation.py",
        "bound_broken",
        "contract.floors.get(path, 0.0)",
        "contract.floors.get(path, -1e308)",
        ("tests/gate/test_bounds.py",),
    ),
    Act(
        "an escalation that nobody is asked about is shown as one",
        "loom/gate/actor.py",
        "GateActor._complaint",
        "if escalate_to is None:",
        "if False:",
        ("tests/gate/test_escalation.py",),
    ),
    Act(
        "a proposal that was denied is asked about again",
        "loom/gate/actor.py",
        "GateActor._complaint",
        'if asked == "denied":',
        "if False:",
        ("tests/gate/test_escalation.py",),
    ),
    Act(
        "what was consented to is executed whatever has come since",
        "loom/gate/actor.py",
        "GateActor._escalate",
        'executes = verdict == "ACCEPT"',
        "executes = approval.granted",
        ("tests/gate/test_escalation.py",),
    ),
    Act(
        "an execution that the views invent is taken for one",
        "loom/gate/gate.py",
        "Gate._executed",
        "or entry.idempotency_key != key:",
        ":",
        ("tests/gate/test_views.py",),
    ),
    Act(
        "credit makes up for what was given away",
        "loom/monitors/rolling.py",
        "full_window_without_credit",
        "max(value, 0.0)",
        "value",
        ("tests/monitors/test_monitors.py",),
    ),
    Act(
        "a sum beyond the largest float ends the monitor",
        "loom/monitors/rolling.py",
        "_mean",
        "except OverflowError:",
        "except ZeroDivisionError:",
        ("tests/monitors/test_monitors.py",),
    ),
    Act(
        "a value out of its signal's range is used",
        "loom/routing/signals.py",
        "checked",
        "if value is not None and not kind.holds(value):",
        "if False:",
        ("tests/routing/test_stops.py",),
    ),
    Act(
        "a signal that may not be seen stops nothing",
        "loom/routing/actor.py",
        "RouterActor._read",
        'await self._switch.stop_for("signal_refused", reason=str(error), request_id=request_id)',
        "pass",
        ("tests/routing/test_stops.py",),
    ),
    Act(
        "a forbidden signal in shadow is a failure like any other",
        "loom/routing/shadow.py",
        "Shadow._compare",
        'await self._switch.stop_for("signal_refused", reason=str(error), request_id=choice.request_id)',
        "pass",
        ("tests/routing/test_stops.py",),
    ),
    Act(
        "an optimised choice without its decision stops nothing",
        "loom/routing/stops.py",
        "_stop_of",
        'if decided.get(reply["decision_id"]) != reply["agent"]:',
        "if False:",
        ("tests/routing/test_stops.py",),
    ),
    Act(
        "a turn of the router may write anything",
        "loom/routing/stops.py",
        "stop_in",
        "if foreign:",
        "if False:",
        ("tests/routing/test_stops.py",),
    ),
    Act(
        "an optimised answer under the kill switch stops nothing",
        "loom/routing/stops.py",
        "_stop_of",
        "if held(began,",
        "if False and held(began,",
        ("tests/routing/test_stops.py",),
    ),
    Act(
        "a decision that cannot be explained stops nothing",
        "loom/routing/stops.py",
        "stop_in",
        "if missing is not None:",
        "if False:",
        ("tests/routing/test_stops.py",),
    ),
    Act(
        "a replay that diverges stops nothing",
        "loom/routing/router.py",
        "Router.replay",
        "if replayed.diverged and halt:",
        "if False:",
        ("tests/routing/test_stops.py",),
    ),
    Act(
        "after a stop anybody re-arms without a cause",
        "loom/routing/switch.py",
        "KillSwitch.rearm",
        "if self._stop is not None and (",
        "if False and (",
        ("tests/routing/test_stops.py",),
    ),
    Act(
        "after a stop a replay that diverges re-arms as well",
        "loom/routing/router.py",
        "Router._passed",
        "if replayed.diverged or replayed.not_replayable is not None:",
        "if False:",
        ("tests/routing/test_router.py",),
    ),
    Act(
        "a clock that was ahead holds deadlines up",
        "loom/actors/requests.py",
        "OpenRequests._from_before",
        "if said_us - now.now_us > AHEAD_US:",
        "if False:",
        ("tests/actors/test_deadlines.py",),
    ),
    Act(
        "deadlines run on the time of day",
        "loom/clock.py",
        "elapsed_us",
        "return clock.elapsed_us() if isinstance(clock, ElapsedClock) else clock.now_us()",
        "return clock.now_us()",
        ("tests/actors/test_deadlines.py",),
    ),
    Act(
        "a turn that the views make up is listed",
        "loom/actors/turns_confirmed.py",
        "TurnsInJournal._told",
        'if told is not None and (told["journal"], told["command_id"]) == (row["journal"], row["command_id"]):',
        "if told is not None:",
        ("tests/actors/test_turns_view.py",),
    ),
    Act(
        "a snapshot is used whatever its digest",
        "loom/actors/snapshots.py",
        "is_journaled",
        "if recorded.entry == _entry_of(kept, kept.actor_type, kept.state_version):",
        "if True:",
        ("tests/actors/test_snapshots.py",),
    ),
    Act(
        "a snapshot is used that no entry names",
        "loom/actors/recovery.py",
        "_begin",
        "if await is_journaled(services.store, kept) and",
        "if",
        ("tests/actors/test_snapshots.py",),
    ),
    Act(
        "a head is not synced",
        "loom/journal/sqlite/heads.py",
        "HeadsFile.append",
        "os.fsync(descriptor)",
        "pass",
        ("tests/journal/test_heads.py",),
    ),
    Act(
        "the name of the heads file is not synced",
        "loom/journal/sqlite/heads.py",
        "HeadsFile.append",
        "os.fsync(directory)",
        "pass",
        ("tests/journal/test_heads.py",),
    ),
    Act(
        "a damaged line of the heads file is passed over",
        "loom/journal/sqlite/verify.py",
        "_Verifier.heads_in",
        "for number in lines.damaged:",
        "for number in ():",
        ("tests/journal/test_heads.py",),
    ),
    Act(
        "verify passes over a grant by its requester",
        "loom/journal/grants.py",
        "Grants._answer",
        'if said.get("granted") is True and',
        "if False and",
        ("tests/journal/test_grants.py",),
    ),
    Act(
        "the index on turns is not held against the table",
        "loom/journal/sqlite/verify.py",
        "_Verifier._compare_turn_index",
        "if has_turn_index(connection):",
        "if False:",
        ("tests/journal/test_turn_index.py",),
    ),
    Act(
        "a journal of format 1 gets no index",
        "loom/journal/sqlite/connection.py",
        "_raise_format",
        "if _version_of(connection) != 1 or",
        "if True or",
        ("tests/journal/test_turn_index.py",),
    ),
    Act(
        "views are made as the umask has it",
        "loom/projections/writer.py",
        "ViewsWriter._open",
        "create_private(self._path)",
        "pass",
        ("tests/test_private_files.py",),
    ),
    Act(
        "files keep what the umask leaves of their mode",
        "loom/journal/private.py",
        "_with_mode",
        "os.fchmod(descriptor, _MODE)",
        "pass",
        ("tests/test_private_files.py",),
    ),
)
