"""Verify one case offline: a decision of a loom with its proof, in one file, as `loom prove` writes it.

`python3 -I -S verify.py case.zip --key KEY`, with Python 3.9 or later and nothing else. KEY is the log's public key,
`<origin>+<8 hex digits>+<base64>`, or its fingerprint, 64 hex digits. Take it, and this script, from a place that
the giver of the case cannot change. Exit codes: 0 valid, 1 does not hold, 2 not called well, 3 signer unknown.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import sys
import zlib
from typing import Any, NamedTuple

__all__ = ["NAMES", "CaseError", "canonical", "is_signed", "judge", "main", "pack", "unpack", "vkey"]

NAMES = ("case.json", "checkpoint.txt", "key.txt", "verify.py")
FORMAT, LARGEST, ENDING = "loom.case/1", 1 << 24, "turn_(completed|failed|abandoned)"
UNKNOWN = "internally consistent, signer unknown"
NUMBERS = ("sequence", "position", "schema_version", "epoch", "recorded_at_us", "clock_back_us")
COMMON = {"journal", "kind", "command_id", "policy_hash", "body_digest", "previous", "path", *NUMBERS}
P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
IDENTITY: tuple[int, ...] = (0, 1, 1, 0)


class CaseError(Exception):
    """Something in the case does not hold; the message says what."""


def need(holds: Any, what: str) -> Any:
    """Return what is given; raise `CaseError` where it is false or nothing."""
    if not holds:
        raise CaseError(what)
    return holds


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def field(raw: bytes) -> bytes:
    return struct.pack(">Q", len(raw)) + raw


def hex32(text: str) -> bytes:
    return bytes.fromhex(need(re.fullmatch("[0-9a-f]{64}", text), "a hash is not written as one")[0])


def canonical(value: Any) -> bytes:
    """Return JSON without floats in the one form that RFC 8785 gives it."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda each: each.encode("utf-16-be"))
        return b"{" + b",".join(canonical(each) + b":" + canonical(value[each]) for each in names) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    need(not isinstance(value, float), "a number is none that has one form only")
    return json.dumps(value, ensure_ascii=False).encode()


def pack(files: dict[str, bytes]) -> bytes:
    """Return the bytes of a case that holds these files."""
    body, index = b"", b""
    for name, raw in files.items():
        about = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, zlib.crc32(raw), len(raw), len(raw), len(name), 0)
        more = struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, len(body))
        index += b"PK\1\2" + struct.pack("<H", 788) + about + more + name.encode()
        body += b"PK\3\4" + about + name.encode() + raw
    return body + index + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(index), len(body), 0)


def unpack(raw: bytes) -> dict[str, bytes]:
    """Return the files of a case; raise `CaseError` for what `pack` would not write."""
    need(len(raw) <= LARGEST, f"the file is larger than {LARGEST} bytes")
    files: dict[str, bytes] = {}
    at = 0
    while raw[at : at + 4] == b"PK\3\4" and len(raw) >= at + 30:
        size, name_size = struct.unpack_from("<I", raw, at + 22)[0], struct.unpack_from("<H", raw, at + 26)[0]
        name = raw[at + 30 : at + 30 + name_size].decode("ascii", "replace")
        need(name in NAMES and name not in files, f"the file holds [{name[:40]!a}], which is not part of a case")
        files[name] = raw[at + 30 + name_size : at + 30 + name_size + size]
        at += 30 + name_size + size
    need({"case.json", "checkpoint.txt"} <= set(files), "the file is no case: it lacks case.json or checkpoint.txt")
    need(list(files) == [each for each in NAMES if each in files] and pack(files) == raw, "the file is damaged")
    return files


def added(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Add two points of the curve of Ed25519, in extended coordinates."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * D * a[3] * b[3] % P, 2 * a[2] * b[2] % P
    return (f - e) * (h - g) % P, (h + g) * (f + e) % P, (h - g) * (h + g) % P, (f - e) * (f + e) % P


def point_at(y: int, sign: int) -> tuple[int, ...] | None:
    """Return the point with a y and the sign of its x; None if there is none."""
    squared = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(squared, (P + 3) // 8, P)
    x = x if x * x % P == squared else x * pow(2, (P - 1) // 4, P) % P
    if y >= P or x * x % P != squared or (x == 0 and sign):
        return None
    x = x if x & 1 == sign else P - x
    return x, y, 1, x * y % P


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether an Ed25519 signature (RFC 8032) is by a key; each signature has one form only."""
    number, s = int.from_bytes(key, "little"), int.from_bytes(signature[32:], "little")
    a, base = point_at(number & (1 << 255) - 1, number >> 255 & 1), point_at(4 * pow(5, P - 2, P) % P, 0)
    if len(key) != 32 or len(signature) != 64 or s >= ORDER or a is None or base is None:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    found, minus = IDENTITY, (P - a[0], a[1], 1, P - a[3])
    table = (IDENTITY, base, minus, added(base, minus))
    for bit in reversed(range(253)):
        found = added(added(found, found), table[s >> bit & 1 | (k >> bit & 1) << 1])
    x, y = (each * pow(found[2], P - 2, P) % P for each in found[:2])
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def b64(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    need(base64.b64encode(raw).decode() == text, "base64 is not in its one form")
    return raw


def vkey(text: str) -> tuple[str, bytes, str, str]:
    """Return name, Ed25519 key, id and fingerprint (the SHA-256 of the key) of a line `<name>+<id>+<base64>`."""
    found = need(re.fullmatch(r"([^+\s]+)\+([0-9a-f]{8})\+([0-9A-Za-z+/]{44})\n?", text), "a key is not written as one")
    raw, whole = b64(found[3]), sha(found[1].encode(), b"\n", b64(found[3])).hex()
    need(raw[0] == 1 and whole[:8] == found[2], "a key has another id than its own, or is none of Ed25519")
    return found[1], raw[1:], found[2], sha(raw[1:]).hex()


Note = NamedTuple("Note", [("origin", str), ("size", int), ("root", bytes), ("text", bytes), ("by", list[Any])])  # noqa: UP014


def note_of(raw: bytes) -> Note:
    """Return the checkpoint that a signed note says; one that no one signed ends after its text."""
    shape = r"([^\0-\x1f]+\n){3,99}(\n([^\0-\x1f]+\n){1,99})?"
    need(len(raw) <= 65536 and re.fullmatch(shape, raw.decode()), "the checkpoint is not written as one")
    text, _, signed = raw.decode().partition("\n\n")
    lines = text.rstrip("\n").split("\n")
    need(re.fullmatch("[1-9][0-9]{0,18}", lines[1]) and len(b64(lines[2])) == 32, "the checkpoint names no tree")
    found = [re.fullmatch("\u2014 ([^+ ]+) ([0-9A-Za-z+/=]+)", line) for line in signed.split("\n")[:-1]]
    signed_by = [need(each, "a signature of the checkpoint is not written as one").groups() for each in found]
    signatures = [(name, b64(each)[:4].hex(), b64(each)[4:]) for name, each in signed_by]
    return Note(lines[0], int(lines[1]), b64(lines[2]), "\n".join([*lines, ""]).encode(), signatures)


def signers(note: Note, enclosed: bytes | None, wanted: list[str]) -> list[str]:
    """Return the fingerprints of the wanted keys, each of which has signed; without any, try the one enclosed."""
    known = {} if enclosed is None else {each[3]: each for each in [vkey(enclosed.decode())]}
    lost = "the key that you name is not the one enclosed: it is by another signer, or another key of this one"
    keys = [need(known.get(each), lost) if re.fullmatch("[0-9a-f]{64}", each) else vkey(each) for each in wanted]
    for name, key, short, _ in keys or known.values():
        need(name == note.origin, f"the key is of the log [{name!a}], the checkpoint of [{note.origin!a}]")
        by = [each[2] for each in note.by if each[:2] == (name, short)]
        need(by, "the checkpoint is not signed by the key that you name" if keys else "the enclosed key has not signed")
        need(all(is_signed(key, note.text, each) for each in by), "the signature of the checkpoint is not by its key")
    return [each[3] for each in keys]


def body_of(entry: dict[str, Any]) -> tuple[bytes | None, dict[str, Any]]:
    """Return the digest that the body of an entry gives, None for one that is gone, and what can be read of it."""
    if "fields" not in entry and (entry["salt"], entry["body"]) != (None, None):
        need(len(bytes.fromhex(entry["salt"])) == 16, "a salt has another length")
        return sha(bytes.fromhex(entry["salt"]), entry["body"].encode()), json.loads(entry["body"])
    leaves, shown = [], dict[str, Any]()
    for first, *rest in entry.get("fields") or []:
        need(len(rest) in (0, 2) and not shown.keys() & set(rest[:1]), "a field is not written as one, or there twice")
        leaves.append(sha(b"\0", hex32(first), field(rest[0].encode()), rest[1].encode()) if rest else hex32(first))
        shown.update({rest[0]: json.loads(rest[1])} if rest else {})
    while len(leaves) > 1:
        pairs = [leaves[at : at + 2] for at in range(0, len(leaves), 2)]
        leaves = [sha(b"\1", *each) if each[1:] else each[0] for each in pairs]
    return None if entry.get("fields") is None else [*leaves, sha()][0], shown


def root_by(path: list[bytes], index: int, size: int, leaf: bytes) -> bytes | None:
    """Return the root that an audit path (RFC 6962) leads to; None for one of another length than this leaf has."""
    inner = (index ^ (size - 1)).bit_length()
    if not 0 <= index < size or len(path) != inner + bin(index >> inner).count("1"):
        return None
    for level, each in enumerate(path):
        leaf = sha(b"\1", each, leaf) if level >= inner or index >> level & 1 else sha(b"\1", leaf, each)
    return leaf


def proven(case: dict[str, Any], note: Note) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the entries, each with what its body says; raise `CaseError` where one was not hashed like this."""
    workspace, found, last = case["workspace"], [], {"position": 0, "recorded_at_us": 0}
    need(re.fullmatch("loom/[0-9a-f-]{36}/" + re.escape(workspace), note.origin), "the checkpoint is of another log")
    chains: dict[str, tuple[int, bytes]] = {}
    for entry in case["entries"]:
        name = f"{entry['journal']!a} sequence {entry['sequence']}"
        need(set(entry) in (COMMON | {"salt", "body"}, COMMON | {"fields"}), f"{name} is not written as an entry")
        texts = [field(each.encode()) for each in (workspace, entry["journal"], entry["kind"])]
        policy, command, scheme = entry["policy_hash"], entry["command_id"], 2 if "fields" in entry else 1
        texts.append(b"\xff" * 8 if command is None else field(command.encode()))
        texts.append(b"\xff" * 8 if policy is None else field(hex32(policy)))
        for number in NUMBERS:
            need(type(entry[number]) is int and 0 <= entry[number] < 1 << 63, f"{number} of {name} is no number")
            texts.append(field(struct.pack(">q", entry[number])))
        texts += [field(struct.pack(">q", 2))] * (scheme - 1) + [hex32(entry["body_digest"]), hex32(entry["previous"])]
        digest, said = body_of(entry)
        need(digest in (None, hex32(entry["body_digest"])), f"the body of {name} is not the one recorded")
        place, sequence = struct.pack(">Q", entry["position"]), entry["sequence"]
        names = field(workspace.encode()) + place, field(entry["journal"].encode()) + struct.pack(">Q", sequence)
        whole = sha(b"loom/entry/v%d\n" % scheme, *texts)
        leaf, path = sha(b"\0loom/leaf/v1\n", *names, whole), [hex32(each) for each in entry["path"]]
        need(root_by(path, entry["position"] - 1, note.size, leaf) == note.root, f"{name} is not at its place")
        start = sha(b"loom/genesis/v1\n", field(workspace.encode()), field(entry["journal"].encode()))
        at, before = chains.get(entry["journal"], (0, start))
        linked = sequence > at + 1 or (sequence == at + 1 and entry["previous"] == before.hex())
        ordered = all(entry[each] >= last[each] for each in last) and entry["position"] > last["position"]
        need(linked and ordered, f"{name} does not follow from what is before it")
        chains[entry["journal"]], last = (sequence, whole), {each: entry[each] for each in last}
        found.append((entry, said))
    return found


def story(case: dict[str, Any], note: Note) -> list[str]:
    """Return what a case shows, what it says and what it does not show; raise `CaseError` for what does not hold."""
    need(set(case) == {"format", "workspace", "decision", "entries"} and case["format"] == FORMAT, "it is no case")
    found, asked = proven(case, note), case["decision"]
    need(set(asked) == {"id", "journal", "command_id"}, "it names no decision")
    whose = {name: asked[name] for name in ("journal", "command_id")}
    turn = {entry["sequence"]: (entry, said) for entry, said in found if whose.items() <= entry.items()}
    lines = [f"shown      {len(found)} entries, as they are in the log of {note.size} with the root {note.root.hex()}"]
    lacks = [f"sequence {each}" for each in range(min(turn, default=1), max(turn, default=0)) if each not in turn]
    lacks += [] if any(re.fullmatch(ENDING, entry["kind"]) for entry, _ in turn.values()) else ["the end of the turn"]
    documents = {}
    for entry, said in found:
        name = f"{entry['kind']} ({entry['journal']!a} {entry['sequence']})"
        gone = entry.get("fields", entry.get("body")) is None
        hidden = sum(len(each) == 1 for each in entry.get("fields") or [])
        lacks += [f"the body of {name}: erased or pruned"] * gone + [f"{hidden} fields of {name}"] * bool(hidden)
        if entry["kind"] == "policy_registered" and "document" in said:
            documents[sha(b"loom/policy/v1\n", canonical(said["document"])).hex()] = name
        if entry["kind"] == "approval_answered" and turn.get(entry["sequence"], (0, 0))[0] is entry and not gone:
            by, source, how = (said.get(each) for each in ("by", "identity_source", "via"))
            granted = "granted" if said.get("granted") is True else "denied"
            lines.append(f"says       {granted} by {by!a}, a name that is {source or 'unexplained'}, via {how}: {name}")
    made = [each for each in turn.values() if each[0]["kind"] in ("decision", "decision_observed")]
    said_so = [(e, said["decision"]) for e, said in made if said.get("decision", {}).get("decision_id") == asked["id"]]
    need(said_so or any("decision" not in said for _, said in made), "no entry of the turn is this decision")
    lacks += [] if said_so else ["which decision of the turn it is: what says so is not in the file"]
    for entry, decision in said_so:
        policy, refers = entry["policy_hash"], decision.get("refers") or {}
        need(policy in (None, (decision.get("policy") or {}).get("hash", policy)), "it was made under another policy")
        lines.append(f"shown      decision {asked['id']} is {entry['journal']!a} sequence {entry['sequence']}")
        lines += [f"shown      the document of its policy version {policy}"] * (policy in documents)
        lacks += [f"the document of its policy version {policy}"] * (policy is not None and policy not in documents)
        for sequence, digest, *_ in refers.get("inputs", []) + refers.get("approvals", []):
            other = turn.get(sequence, ({"body_digest": digest},))[0]
            need(other["body_digest"] == digest, f"it refers to another entry than sequence {sequence}")
    return lines + [f"not shown  {each}" for each in lacks]


def judge(raw: bytes, wanted: list[str]) -> tuple[int, str, list[str]]:
    """Return the exit code, the verdict in words, and line by line what is shown; never raise."""
    try:
        files = unpack(raw)
        note = note_of(files["checkpoint.txt"])
        signed_by, case = signers(note, files.get("key.txt"), wanted), json.loads(files["case.json"])
        need(canonical(case) == files["case.json"], "case.json is not in its one form")
        lines = [f"log        {note.origin!a}", *story(case, note)]
        with open(__file__, "rb") as mine:
            if files.get("verify.py", b"") not in (b"", mine.read()):
                lines.append("caution    the verify.py enclosed is not this one: do not run it")
    except Exception as error:
        why = str(error) if isinstance(error, CaseError) else f"it is not written as a case ({type(error).__name__})"
        return 1, f"does not hold: {why}", []
    return (0, f"valid: signed by {' '.join(signed_by)}", lines) if signed_by else (3, UNKNOWN, lines)


def main(arguments: list[str]) -> int:
    """Judge the file that is named, print it, and return the exit code."""
    path, *rest = arguments or ["-"]
    if path.startswith("-") or len(rest) % 2 or set(rest[::2]) - {"--key"}:
        print("usage: verify.py CASE.zip [--key KEY]...: KEY is the public key of the log, or its fingerprint")
        return 2
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        print(f"cannot read [{path!a}]: {error!a}")
        return 2
    code, words, lines = judge(raw, rest[1::2])
    print("\n".join([*lines, f"VERDICT    {words}"]).encode("ascii", "backslashreplace").decode())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
