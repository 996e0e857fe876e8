"""R28 and R29: bad input at every boundary, and the canonical form against RFC 8785."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from loom.config import load_config
from loom.errors import AdmissionError, ConfigError, ControlError, LoomError
from loom.journal import Draft, admit, json_value, parse_json
from loom.journal.admission import Limits
from loom.journal.control import ControlServer, control_call
from loom.journal.entry import KINDS
from loom.journal.export import export_lines, verify_export
from loom.journal.sqlite import JournalFiles, SqliteStore
from loom.journal.store import draft
from loom.policies import canonical
from loom.policies.canonical import tagged, untagged
from loom.precedents import Bin, EquivalenceRule, SetOf
from tests.journal.support import PLENTY, NotedEntry, fill
from tests.reliability.board import Tally, row
from tests.reliability.generated import BAD_TEXTS, TEXTS, broken_text, json_text, odd_value, plain_value

TEXTS_EACH = 400_000
VALUES = 150_000
ENTRIES = 20_000
LINES = 20_000
CONFIGS = 9_000
REQUESTS = 1_000
CANONICAL = 200_000


@pytest.mark.seconds(40)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("half", [0, 1])
@row("R28")
def test_texts_are_admitted_as_they_are_or_refused_by_type(tally: Tally, half: int) -> None:
    """What is admitted means the same to every reader, and is admitted again, by either form of the gate."""
    dice, limits = tally.dice, Limits()
    for number in range(TEXTS_EACH):
        raw = json_text(dice) if number % 4 == 0 else broken_text(dice)
        try:
            admitted = admit(raw, limits=limits)
        except AdmissionError:
            tally.heard["texts refused"] += 1
            tally.check(number % 4, f"refused what is plain: {raw[:80]!r}")
        except Exception as error:
            tally.fail(f"{error!r:.100} for {raw[:80]!r}")
        else:
            tally.heard["texts admitted"] += 1
            if number % 16 < 4:
                stable = admitted is raw and json_value(parse_json(raw), limits=limits) == json.loads(raw)
                tally.check(stable, f"admitted, and read otherwise: {raw[:80]!r}")
    tally.tried(TEXTS_EACH)


@pytest.mark.seconds(20)
@row("R28")
def test_values_are_admitted_as_plain_json_or_refused_by_type(tally: Tally) -> None:
    dice = tally.dice
    for number in range(VALUES):
        value = plain_value(dice) if number % 3 == 0 else odd_value(dice)
        try:
            plain = json_value(value)
        except AdmissionError as error:
            tally.heard["values refused"] += 1
            tally.check(str(error).isprintable() and len(str(error)) < 400, f"message of {value!r:.60}")
        except Exception as error:
            tally.fail(f"{error!r:.100} for {value!r:.80}")
        else:
            text = json.dumps(plain, allow_nan=False).encode()
            tally.check(json_value(json.loads(text)) == plain, f"unstable: {value!r:.80}")
    tally.tried(VALUES)


@pytest.mark.seconds(10)
@row("R28")
def test_entries_are_drafted_and_come_back_or_are_refused_by_type(tally: Tally) -> None:
    dice = tally.dice
    for _ in range(ENTRIES):
        text, command = dice.choice((*TEXTS, *BAD_TEXTS)), dice.choice((None, *TEXTS, *BAD_TEXTS, "x" * 600))
        policy = dice.choice((None, b"", bytes(32), bytes(31)))
        try:
            ready: Draft = draft(NotedEntry(text=text), command_id=command, policy_hash=policy)
        except LoomError:
            continue
        except Exception as error:
            tally.fail(f"{error!r:.100} for {text!r:.40}, {command!r:.40}")
            continue
        tally.check(
            KINDS.decode(ready.kind, ready.schema_version, ready.body) == NotedEntry(text=text), f"{text!r:.40}"
        )
    tally.tried(ENTRIES)


@pytest.mark.seconds(15)
@row("R28")
async def test_lines_of_an_export_that_were_tampered_with_give_findings_and_never_a_traceback(
    tmp_path: Path, tally: Tally
) -> None:
    store = await SqliteStore.open(tmp_path / "journal.db", options=PLENTY)
    await fill(store, {"a/1": 4, "b/1": 2})
    sound = [line async for line in export_lines(store, workspace="default")]
    await store.close()
    assert verify_export(sound).ok
    dice = tally.dice
    for _ in range(LINES):
        lines = list(sound)
        which = dice.randrange(len(lines))
        at = dice.randrange(len(lines[which]))
        old = lines[which]
        lines[which] = old[:at] + dice.choice(("", '"', "}", "0", "a", "\\", "\x00", ",", "null")) + old[at + 1 :]
        try:
            found = verify_export(lines)
        except Exception as error:
            tally.fail(f"{error!r:.100} for {lines[which]:.200}")
            continue
        tally.check(not found.ok or lines[which] == old, f"nothing was found in {lines[which]:.300}")
    tally.tried(LINES)


@pytest.mark.seconds(15)
@row("R28")
def test_configs_are_read_or_refused_by_type(tmp_path: Path, tally: Tally) -> None:
    path, dice = tmp_path / "loom.config.yaml", tally.dice
    keys = ("data", "workspace", "journal", "actors", "projections", "modules", "durability", "mailbox_size", "${HOME}")
    values = (
        "x",
        "1",
        "-1",
        "full",
        "[]",
        "{}",
        "null",
        "1e400",
        "&a [*a]",
        "${NOPE}",
        "${X:-y}",
        "!!python/none",
        "'",
        "NO",
    )
    for _ in range(CONFIGS):
        lines = [f"{dice.choice(keys)}: {dice.choice(values)}" for _ in range(dice.randrange(3))]
        lines += [f"journal:\n  {dice.choice(keys)}: {dice.choice(values)}"] if dice.random() < 0.3 else []
        raw = "\n".join(lines).encode() if dice.random() < 0.8 else broken_text(dice)[:2_000]
        path.write_bytes(raw)
        try:
            load_config(path)
        except ConfigError:
            tally.heard["configs refused"] += 1
        except Exception as error:
            tally.fail(f"{error!r:.120} for {raw[:120]!r}")
    tally.tried(CONFIGS)


@row("R28")
async def test_requests_over_the_control_socket_are_answered_or_refused_by_type(tmp_path: Path, tally: Tally) -> None:
    store = await SqliteStore.open(tmp_path / "journal.db", options=PLENTY)

    async def handle(op: str, args: Any, _: int | None) -> Any:
        return {"op": op}

    server = ControlServer(JournalFiles(tmp_path / "journal.db").socket, handle)
    path = await server.start()
    try:
        for _ in range(REQUESTS):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(broken_text(tally.dice)[:60_000].replace(b"\n", b" ") + b"\n")
            answer = parse_json(await asyncio.wait_for(reader.read(), 20))
            writer.close()
            tally.tried()
            tally.check(isinstance(answer, dict) and answer.keys() <= {"ok", "error"}, f"answer {answer}")
        tally.check(await control_call(store.files.lock, "still.there") == {"op": "still.there"}, "it listens no more")
    except ControlError as error:
        tally.fail(error)
    finally:
        await server.close()
        await store.close()


@row("R28")
def test_what_hypothesis_thinks_of_is_admitted_and_stable_or_refused_by_type(tally: Tally) -> None:
    anything = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.binary()
        | st.decimals()
        | st.datetimes(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
        max_leaves=10,
    )

    @seed(tally.piece.seed)
    @settings(max_examples=3_000, suppress_health_check=list(HealthCheck))
    @given(anything)
    def run(value: Any) -> None:
        tally.tried()
        try:
            plain = json_value(value)
        except AdmissionError:
            return
        again = json.loads(admit(json.dumps(plain).encode()))
        assert again == plain

    run()


# --- the canonical form --------------------------------------------------------------------------

VECTORS: tuple[tuple[str, str], ...] = (
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
)
"""Appendix B of RFC 8785: the bits of a number and how it is written."""

SORTED = (
    '{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",'
    '"\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control","\\u00f6":"Latin Small Letter O With Diaeresis"}'
)
"""Section 3.2.3 of RFC 8785: properties are sorted by their UTF-16 code units."""
ORDER = ["\r", "1", "\u0080", "ö", "€", "😀", "\ufb33"]


@row("R29")
def test_the_vectors_of_rfc_8785_come_out_as_it_says(tally: Tally) -> None:
    for bits, written in VECTORS:
        [number] = struct.unpack(">d", bytes.fromhex(bits))
        tally.tried()
        tally.check(rfc8785.dumps(number) == written.encode(), f"{bits} is written {rfc8785.dumps(number)!r}")
        kept = untagged(json.loads(canonical(tagged(number))))
        tally.check(struct.pack(">d", kept).hex() == bits, f"{bits} is kept as {kept!r}")
    properties = json.loads(SORTED)
    tally.tried()
    tally.check(list(json.loads(canonical(properties))) == ORDER, f"order {list(json.loads(canonical(properties)))}")


@pytest.mark.seconds(40)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("half", [0, 1])
@row("R29")
def test_the_canonical_form_is_the_same_after_any_reader_and_that_of_rfc_8785(tally: Tally, half: int) -> None:
    dice = tally.dice
    for _ in range(CANONICAL // 2):
        value = plain_value(dice)
        if has_reserved(value):
            continue
        form = canonical(tagged(value))
        tally.tried()
        again = json.loads(form)
        tally.check(canonical(again) == form, f"not idempotent: {value!r:.120}")
        tally.check(form == oracle(again), f"not as RFC 8785 says: {form[:120]!r}")
        same = untagged(again)
        tally.check(repr(same) == repr(ordered(value, same)), f"comes back as {same!r:.80} from {value!r:.80}")


@row("R29")
def test_keys_of_precedents_are_the_same_after_any_reader(tally: Tally) -> None:
    rule = EquivalenceRule(
        "cases", attributes=("industry", Bin("percent", low=0, high=50), SetOf("tags")), outcome=("granted",)
    )
    dice = tally.dice
    for _ in range(10_000):
        tags = [dice.choice(("a", "b", "ä", "😀", 1, 2, True)) for _ in range(dice.randrange(4))]
        facts = {"industry": dice.choice(TEXTS), "percent": dice.choice((0, 0.1, 12.5, 50, -3, 99)), "tags": tags}
        outcome = {"granted": dice.choice((True, False, "half", 1))}
        there = json.loads(json.dumps({"facts": facts, "outcome": outcome}))
        shuffled = dict(dice.sample(sorted(there["facts"].items(), key=repr), 3))
        shuffled["tags"] = dice.sample(tags, len(tags))
        tally.tried()
        tally.check(rule.situation_key(facts) == rule.situation_key(shuffled), f"situation of {facts}")
        same = rule.classify(facts, outcome) == rule.classify(shuffled, there["outcome"])
        tally.check(same, f"class of {facts}, {outcome}")


def has_reserved(value: Any) -> bool:
    """Tell whether a value has keys that begin with the sign of tags: those are refused, and tested elsewhere."""
    if isinstance(value, dict):
        return any(key.startswith("$") or has_reserved(item) for key, item in value.items())
    return isinstance(value, list) and any(map(has_reserved, value))


def ordered(value: Any, like: Any) -> Any:
    """Return a value with its keys in the order in which another has them: order has no meaning."""
    if isinstance(value, dict):
        return {key: ordered(value[key], like[key]) for key in like}
    if isinstance(value, list):
        return [ordered(item, other) for item, other in zip(value, like, strict=True)]
    return value


def oracle(value: Any) -> bytes:
    """Write RFC 8785 in a second way, for what a document may hold: no floats among them."""
    write: Callable[[Any], str] = lambda item: json.dumps(item, ensure_ascii=False)  # noqa: E731
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return b"{" + b",".join(write(key).encode() + b":" + oracle(value[key]) for key in keys) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(oracle, value)) + b"]"
    assert not isinstance(value, float) or math.isfinite(value)
    return write(value).encode()
