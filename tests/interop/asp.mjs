// ASP 1.0 as a client needs it, written from docs/spec alone: canonical JSON, commitments, envelopes, records, ids.
// Nothing here is shared with the cell under test.

import { createHash, createHmac, randomBytes, randomUUID } from "node:crypto";

export const sha256 = (...pieces) => {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
};

export const base64url = (bytes) => Buffer.from(bytes).toString("base64url");

/** RFC 8785: members by UTF-16 code units; ECMAScript writes strings and numbers as the RFC wants them. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}

export function uuid7() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

export const uuid4 = () => randomUUID();

export const newSalt = () => randomBytes(32);

const commitment = (partSalt, value) =>
  base64url(sha256("asp/1.0 part", Buffer.of(0), partSalt, canonical(value)));

/** The commitments of a message's parts under its salt. */
export function commit(salt, parts) {
  const committed = {};
  for (const [name, value] of Object.entries(parts)) {
    committed[name] = commitment(createHmac("sha256", salt).update(name).digest(), value);
  }
  return committed;
}

/** The name of a personal part. */
export const personal = (salt, subjectRef) => {
  const mac = createHmac("sha256", salt).update("asp/1.0 subject").update(Buffer.of(0)).update(subjectRef).digest();
  return `personal/${base64url(mac.subarray(0, 16))}`;
};

const some = (members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

/** E, the envelope hash that a proof carries as asp_hash. */
export function envelopeHash({ sessionId, messageId, sender, performative, referenceId, seen, terms, parts = {} }) {
  const members = { sessionId, messageId, sender, performative, referenceId, seen, terms, parts };
  return base64url(sha256(canonical({ type: "asp/1.0 envelope", ...some(members) })));
}

/** The hash of a record as read (S5), from its members alone. */
export function recordHash(record) {
  const { type, sessionId, host, epoch, sequence, timestamp, sender, performative } = record;
  const { referenceId, seen, terms, messageId, proofHash } = record;
  const parts = Object.fromEntries(Object.entries(record.parts).map(([name, part]) => [name, part.commitment]));
  const hashed = { type, sessionId, host, epoch, sequence, timestamp, sender, performative, referenceId, seen, terms };
  const text = canonical(some({ ...hashed, messageId, proofHash, parts }));
  const previous = sequence === 1 ? Buffer.alloc(0) : Buffer.from(record.previousHash, "base64url");
  return base64url(sha256(text, previous));
}

/** The parts of a record that do not open. */
export function unopened(record) {
  const opens = ({ commitment: shown, salt, value }) => commitment(Buffer.from(salt, "base64url"), value) === shown;
  return Object.entries(record.parts).filter(([, part]) => !part.status && !opens(part)).map(([name]) => name);
}
