"""The scoreboard as it was set up: every row, the share that its control has to find, and why a row is not there.

What ran says nothing about what there should have been: the page is made of these rows, whatever a run did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["SCOREBOARD", "Row"]


class Row(NamedTuple):
    """One row: what it shows; `must_find` is the share of its trials in which a control has to fail, if it has one.

    A row without tests says why in `absent`. A control that is left to `on_demand` says how it is run.
    """

    title: str
    must_find: float | None = None
    on_demand: str | None = None
    absent: str | None = None


SCOREBOARD: Mapping[str, Row] = {
    "R1": Row("kill -9 at any moment, one writer and three: nothing acknowledged is lost, torn or there twice"),
    "R2": Row("killed before or in the middle of every write-class system call"),
    "R3": Row(
        "EIO and ENOSPC at every write-class system call, once and from then on: no wrong answer about an append"
    ),
    "R4": Row("power cut: unsynced writes dropped, reordered, torn at 512 bytes (control: synchronous NORMAL)", 0.1),
    "R5": Row("a disk that is really full, or turns read-only: nothing lost, and it goes on afterwards"),
    "R6": Row("many processes: a second writer is refused by type, and all get through by the control socket"),
    "R7": Row(
        "the WAL-reset race in the supported mode: one writer, readers, and others that try (control: no mitigation)",
        0.02,
        on_demand="LOOM_ON_DEMAND=1",
    ),
    "R8": Row(
        "a stray open and close in the writer's process, then another process: no false receipt (control: no guard)",
        1.0,
    ),
    "R9": Row("a storm of cancellations on appends and asks (control: the usual shape with aiosqlite)", 0.05),
    "R10": Row(
        "deterministic simulation: actors, writer, projector and enricher on virtual time, with faults that a seed "
        "decides (control: planted bugs, each to be found within 500 seeds)",
        1.0,
    ),
    "R11": Row("a model of journal, projection and pruning, driven through crashes at random"),
    "R12": Row("views kept up through crashes equal rebuilt ones, in pages of any size"),
    "R13": Row("replay gives one digest whatever the hash seed, time zone, locale and Python"),
    "R14": Row("golden journals of every release verify, replay and go on"),
    "R15": Row(
        "PostgreSQL: terminated backends, immediate stop, kill -9 of the postmaster: nothing acknowledged is lost, "
        "nothing is there twice, and every unknown outcome is found",
    ),
    "R16": Row(
        "PostgreSQL: catching up under racing writers with delays and rollbacks (control: poll by position)",
        0.01,
    ),
    "R17": Row(
        "a writer that was stopped, overtaken and woken writes nothing more (control: no check of the epoch)", 0.5
    ),
    "R18": Row("the same command many times, with the same contents and with others: one entry, conflicts by type"),
    "R19": Row(
        "clocks that step, daylight saving, every IANA zone, leap days: order unchanged, one budget a day "
        "(control: days of 24 hours)",
        0.2,
    ),
    "R20": Row(
        "a budget that many spend at once and killed processes leave: never exceeded (control: no reservation)", 0.5
    ),
    "R21": Row("a critic that is down, slow, broken or talked into things: no decision, key or approval is touched"),
    "R22": Row(
        "every byte of a journal flipped: no silent change of what it holds or answers (control: the chain alone)", 0.1
    ),
    "R23": Row(
        "ten attacks by SQL and files, with every hash made again: each is found, by its name, up to the last anchor "
        "(control: the chain and the heads that are there)",
        0.9,
    ),
    "R24": Row(
        "forged proofs, notes, keys, origins and cases, and every byte of a case flipped: none is accepted, all true "
        "ones are, and a second reader in JavaScript agrees (control: verifiers that skip one check)",
        1.0,
    ),
    "R25": Row(
        "cases verified by one file of code on another Python, offline, when everything else is gone (control: a "
        "verifier that skips a check)",
        1.0,
    ),
    "R26": Row(
        "killed amid erasures: what is erased opens for no one, no secret or key is in any file, and no digest "
        "confirms a guess (control: unsealed values, digests without a key)",
        1.0,
    ),
    "R27": Row(
        "killed at every step of sealing and pruning: a whole archive or none, nothing pruned before it verifies "
        "(control: a damaged archive)",
        1.0,
    ),
    "R28": Row("bad input at every boundary: each rejection has a type, nothing accepted is unstable"),
    "R29": Row("canonical JSON is idempotent and equals RFC 8785"),
    "R30": Row("anything sent to any route of the API: no fault, every answer in the shape that the document says"),
    "R31": Row(
        "every route with every role in every workspace: none does more than it may, none sees another's "
        "(control: one's own workspace)",
        1.0,
    ),
    "R32": Row("hosts, origins and sites that may not ask are not answered"),
    "R33": Row(
        "500 texts of HTML and scripts, each in every field, on every page of the explorer and in reports, in a real "
        "browser: none executes, no element is injected (control: templates that do not escape)",
        1.0,
    ),
    "R34": Row(
        "a corpus of SQL and JSON paths in the keys and values of filters: no row too many; hostile statements to the "
        "page for SQL: no write, no file that is read, and each ends"
    ),
    "R35": Row(
        "planted secrets of fifty kinds through all inputs, errors and configs: none in files, logs or exports "
        "(control: fields that nothing declares)",
        1.0,
    ),
    "R36": Row("a writer that stands still, 100,000 waiting: nothing dropped, memory bounded"),
    "R37": Row(
        "kill switch, shadow and forbidden signals, with processes killed: no optimised choice without its decision"
    ),
    "R38": Row(
        "mutation score of the core: one small fault at a time, which its tests find out; a sample, and all of them by "
        "`make mutation` (control: code of which no test asks anything)",
        1.0,
    ),
    "R39": Row(
        "branches of the core and coverage of all down to their floors, strict types, lint, bandit and pip-audit, by "
        "what `make coverage` and `make audit` wrote",
    ),
    "R40": Row(
        "appends, verifying and recovering against raw peers: no ratio a fifth worse than the committed one (control: "
        "the work done twice)",
        1.0,
    ),
    "R41": Row("soak next to a reader that is stuck: descriptors, threads, memory and log stay bounded"),
    "R42": Row("release: reproducible wheel, hashes, SBOM, attestation"),
    "R43": Row(
        "agents of pydantic-ai killed at random: no request of a model made again whose entry was durable, nothing "
        "approved is missing, nothing unrepeatable done twice, no budget exceeded (control: without the capability)",
        1.0,
    ),
    "R44": Row(
        "notices of a loom that is killed at random, to a receiver that refuses some: none is lost, each subject's "
        "come in order (control: the place is moved on before it is sent)",
        1.0,
    ),
    "R45": Row(
        "nodes, PostgreSQL and both killed with turns under way, and a node that is stopped and does not notice: each "
        "turn has one decision and one end (control: no epochs; cells that are revived)",
        0.1,
    ),
    "R46": Row(
        "two nodes at once: they open an empty schema, one joins under load, a request is granted on both, actors ask "
        "in a circle, a kill switch is engaged on one; and a server that was put back to an earlier time (control: a "
        "node without heads)",
        1.0,
    ),
}
