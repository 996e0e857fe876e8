// A second reader of what `loom export` writes, made from docs/journal-format.md alone: node, no packages.
//
//   node reader.js export < journal.jsonl     each entry's hashes, computed again, and the root; exit code 1 if one differs
//   node reader.js vectors < vectors.jsonl    one answer a line for questions about single hashes and proofs
//
// Numbers of vectors are decimal text, as JavaScript's own are exact up to 2^53 alone.

"use strict";

const crypto = require("node:crypto");
const readline = require("node:readline");

const ABSENT = Buffer.alloc(8, 0xff);
const HEADER = ["sequence", "position", "schema_version", "epoch", "recorded_at_us", "clock_back_us"];

function sha256(...parts) {
  const hash = crypto.createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function u64(number) {
  const raw = Buffer.alloc(8);
  raw.writeBigUInt64BE(BigInt(number));
  return raw;
}

function i64(number) {
  const raw = Buffer.alloc(8);
  raw.writeBigInt64BE(BigInt(number));
  return raw;
}

function field(raw) {
  return Buffer.concat([u64(raw.length), raw]);
}

function text(value) {
  return field(Buffer.from(value, "utf8"));
}

// --- the chain ----------------------------------------------------------------------------------

function genesis(workspace, journal) {
  return sha256("loom/genesis/v1\n", text(workspace), text(journal));
}

function entryHash(header, digest, previous, scheme) {
  const parts = [scheme === 2 ? "loom/entry/v2\n" : "loom/entry/v1\n"];
  for (const name of ["workspace", "journal", "kind"]) parts.push(text(header[name]));
  parts.push(header.command_id === null ? ABSENT : text(header.command_id));
  parts.push(header.policy_hash === null ? ABSENT : field(Buffer.from(header.policy_hash, "hex")));
  for (const name of HEADER) parts.push(field(i64(header[name])));
  if (scheme === 2) parts.push(field(i64(2)));
  return sha256(...parts, digest, previous);
}

// --- bodies -------------------------------------------------------------------------------------

function bodyDigest(scheme, salt, body) {
  if (scheme !== 2) return sha256(salt, body);
  return root(sliced(body.toString("utf8")).map(([name, value]) => fieldLeaf(salt, name, value)));
}

function fieldLeaf(salt, name, value) {
  const own = crypto.createHmac("sha256", salt).update(name, "utf8").digest();
  return sha256(Buffer.from([0]), own, text(name), Buffer.from(value, "utf8"));
}

// Returns name and value of each top-level field of an object, the value as the text that stands there.
function sliced(body) {
  const fields = [];
  let at = space(body, 0);
  expect(body, at, "{");
  at = space(body, at + 1);
  while (body[at] !== "}") {
    expect(body, at, '"');
    const end = stringEnd(body, at);
    const name = JSON.parse(body.slice(at, end));
    at = space(body, end);
    expect(body, at, ":");
    const begin = space(body, at + 1);
    at = valueEnd(body, begin);
    fields.push([name, body.slice(begin, at).replace(/[ \t\n\r]+$/, "")]);
    if (body[at] === ",") at = space(body, at + 1);
    else expect(body, at, "}");
  }
  return fields;
}

function space(body, at) {
  while (at < body.length && " \t\n\r".includes(body[at])) at += 1;
  return at;
}

function expect(body, at, wanted) {
  if (body[at] !== wanted) throw new Error(`expected ${wanted} at ${at}`);
}

function stringEnd(body, at) {
  for (at += 1; at < body.length; at += 1) {
    if (body[at] === "\\") at += 1;
    else if (body[at] === '"') return at + 1;
  }
  throw new Error("a string does not end");
}

// Returns where a value ends: at the comma or the brace after it.
function valueEnd(body, at) {
  let depth = 0;
  while (at < body.length) {
    const each = body[at];
    if (each === '"') {
      at = stringEnd(body, at);
      continue;
    }
    if (depth === 0 && (each === "," || each === "}")) return at;
    if (each === "{" || each === "[") depth += 1;
    if (each === "}" || each === "]") depth -= 1;
    at += 1;
  }
  throw new Error("a value does not end");
}

// --- the tree (RFC 6962) ------------------------------------------------------------------------

function leaf(workspace, position, journal, sequence, hash) {
  const names = [text(workspace), u64(position), text(journal), u64(sequence)];
  return sha256(Buffer.from([0]), "loom/leaf/v1\n", ...names, hash);
}

function node(left, right) {
  return sha256(Buffer.from([1]), left, right);
}

function split(size) {
  let half = 1;
  while (half * 2 < size) half *= 2;
  return half;
}

function root(leaves) {
  if (leaves.length === 0) return sha256("");
  let level = leaves;
  while (level.length > 1) {
    const next = [];
    for (let at = 0; at < level.length; at += 2) {
      next.push(at + 1 < level.length ? node(level[at], level[at + 1]) : level[at]);
    }
    level = next;
  }
  return level[0];
}

// Follows the definition of PATH downwards, in place of the loops upwards that loom has.
function rootByPath(found, index, size, path) {
  if (index < 0 || index >= size) return null;
  if (size === 1) return path.length === 0 ? found : null;
  if (path.length === 0) return null;
  const half = split(size);
  const last = path[path.length - 1];
  const rest = path.slice(0, -1);
  if (index < half) {
    const left = rootByPath(found, index, half, rest);
    return left === null ? null : node(left, last);
  }
  const right = rootByPath(found, index - half, size - half, rest);
  return right === null ? null : node(last, right);
}

// Follows the definition of SUBPROOF: returns the two roots that a proof leads to, or null.
function rootsByProof(first, second, proof, isWhole, firstRoot) {
  if (first === second) {
    if (isWhole) return proof.length === 0 ? [firstRoot, firstRoot] : null;
    return proof.length === 1 ? [proof[0], proof[0]] : null;
  }
  if (proof.length === 0) return null;
  const half = split(second);
  const last = proof[proof.length - 1];
  const rest = proof.slice(0, -1);
  if (first <= half) {
    const found = rootsByProof(first, half, rest, isWhole, firstRoot);
    return found === null ? null : [found[0], node(found[1], last)];
  }
  const found = rootsByProof(first - half, second - half, rest, false, firstRoot);
  return found === null ? null : [node(last, found[0]), node(last, found[1])];
}

function isConsistent(first, second, proof, firstRoot, secondRoot) {
  if (first < 0 || first > second) return false;
  if (first === second) return proof.length === 0 && firstRoot.equals(secondRoot);
  if (first === 0) return proof.length === 0 && firstRoot.equals(sha256(""));
  const found = rootsByProof(first, second, proof, true, firstRoot);
  return found !== null && found[0].equals(firstRoot) && found[1].equals(secondRoot);
}

// --- lines of an export -------------------------------------------------------------------------

class Journal {
  constructor() {
    this.last = new Map();
    this.leaves = [];
    this.position = 0;
    this.workspace = null;
    this.problems = [];
  }

  take(line) {
    const said = JSON.parse(line);
    for (const name of HEADER) {
      if (!Number.isSafeInteger(said[name])) throw new Error(`${name} is no integer that can be read exactly`);
    }
    const scheme = said.body_scheme === undefined ? 1 : said.body_scheme;
    const { workspace, journal, sequence, position } = said;
    const tell = (what) => this.problems.push(`${journal} sequence ${sequence}: ${what}`);
    if (this.workspace !== null && this.workspace !== workspace) tell("is of another workspace");
    this.workspace = workspace;
    if (position !== this.position + 1) tell(`has position ${position} after ${this.position}`);
    this.position = position;

    const body = bodyOf(line, said);
    const stated = Buffer.from(said.body_digest, "hex");
    if ((body === null) !== (said.salt === null)) tell("has lost its body or its salt");
    const digest = body === null ? stated : bodyDigest(scheme, Buffer.from(said.salt, "hex"), body);
    if (!digest.equals(stated)) tell("does not have the digest of its body");

    const before = this.last.get(journal) || [0, genesis(workspace, journal)];
    if (sequence !== before[0] + 1) tell(`comes after sequence ${before[0]}`);
    const hash = entryHash(said, digest, before[1], scheme);
    if (hash.toString("hex") !== said.entry_hash) tell("does not have the hash of what it says");
    this.last.set(journal, [sequence, hash]);
    const found = leaf(workspace, position, journal, sequence, hash);
    this.leaves.push(found);
    return { position, body_digest: digest.toString("hex"), entry_hash: hash.toString("hex"), leaf: found.toString("hex") };
  }
}

// The body is what is between the first `,"body":` and the closing brace, to the byte.
function bodyOf(line, said) {
  if (said.body_base64 !== undefined) return Buffer.from(said.body_base64, "base64");
  if (said.salt === null && said.body === null) return null;
  const begin = line.indexOf(',"body":');
  if (begin < 0) throw new Error("there is no body");
  return Buffer.from(line.slice(begin + ',"body":'.length, -1), "utf8");
}

// --- vectors ------------------------------------------------------------------------------------

const ANSWERS = {
  genesis: (q) => genesis(q.workspace, q.journal).toString("hex"),
  entry: (q) => entryHash(q.header, Buffer.from(q.digest, "hex"), Buffer.from(q.previous, "hex"), q.scheme).toString("hex"),
  body: (q) => bodyDigest(q.scheme, Buffer.from(q.salt, "hex"), Buffer.from(q.body, "base64")).toString("hex"),
  leaf: (q) => leaf(q.workspace, q.position, q.journal, q.sequence, Buffer.from(q.hash, "hex")).toString("hex"),
  root: (q) => root(q.leaves.map((each) => Buffer.from(each, "hex"))).toString("hex"),
  inclusion: (q) => {
    const path = q.path.map((each) => Buffer.from(each, "hex"));
    const found = rootByPath(Buffer.from(q.leaf, "hex"), q.index, q.size, path);
    return found !== null && found.toString("hex") === q.root;
  },
  consistency: (q) => {
    const proof = q.path.map((each) => Buffer.from(each, "hex"));
    return isConsistent(q.first, q.second, proof, Buffer.from(q.roots[0], "hex"), Buffer.from(q.roots[1], "hex"));
  },
};

async function main(what) {
  if (what !== "export" && what !== "vectors") {
    process.stderr.write("usage: node reader.js export|vectors < lines\n");
    return 2;
  }
  const journal = new Journal();
  const out = [];
  let number = 0;
  for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    number += 1;
    try {
      if (what === "vectors") {
        const question = JSON.parse(line);
        out.push(JSON.stringify(ANSWERS[question.ask](question)));
      } else {
        out.push(JSON.stringify(journal.take(line)));
      }
    } catch (error) {
      journal.problems.push(`line ${number} cannot be read: ${error.message}`);
      out.push("null");
    }
  }
  if (what === "export") {
    out.push(JSON.stringify({ size: journal.leaves.length, root: root(journal.leaves).toString("hex"), problems: journal.problems }));
  }
  process.stdout.write(out.join("\n") + "\n");
  return journal.problems.length > 0 ? 1 : 0;
}

main(process.argv[2]).then((code) => {
  process.exitCode = code;
});
