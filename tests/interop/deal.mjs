// Strikes a small deal between two agents of a running cell, as strangers would: one agent's proofs are made by the
// library `dpop`, the other's by `jose`, receipts are checked by `jose`, and every hash is computed here.
//
// Environment: ASP_URL (base of the cell), ASP_ORGS (JSON: [{"organisation", "enrolmentKey"} twice]).
// Prints one JSON object; exits 1 with what was expected and what came.

import assert from "node:assert/strict";
import * as dpop from "dpop";
import * as jose from "jose";
import { base64url, commit, envelopeHash, newSalt, personal, recordHash, sha256, unopened, uuid4, uuid7 } from "./asp.mjs";

const base = process.env.ASP_URL.replace(/\/$/, "");
const [buyers, sellers] = JSON.parse(process.env.ASP_ORGS);

/** Proofs by `dpop`. */
async function byDpop() {
  const pair = await dpop.generateKeyPair("ES256", { extractable: true });
  const { kty, crv, x, y } = await jose.exportJWK(pair.publicKey);
  const prove = (htu, htm, claims) => dpop.generateProof(pair, htu, htm, undefined, undefined, claims);
  return { jwk: { kty, crv, x, y }, prove };
}

/** Proofs by `jose`. */
async function byJose() {
  const { publicKey, privateKey } = await jose.generateKeyPair("ES256");
  const { kty, crv, x, y } = await jose.exportJWK(publicKey);
  const jwk = { kty, crv, x, y };
  const prove = (htu, htm, claims = {}) =>
    new jose.SignJWT({ htu, htm, jti: uuid4(), ...claims })
      .setProtectedHeader({ typ: "dpop+jwt", alg: "ES256", jwk })
      .setIssuedAt()
      .sign(privateKey);
  return { jwk, prove };
}

class Agent {
  constructor(id, keys, { inBody }) {
    Object.assign(this, { id, ...keys, inBody });
  }

  async call(method, path, { body, claims, headers = {}, proof } = {}) {
    const url = base + path;
    const made = proof ?? (await this.prove(url.split("?")[0], method, claims));
    const json = body === undefined ? {} : { "content-type": "application/json" };
    const text = body === undefined ? undefined : JSON.stringify(body);
    const answer = await fetch(url, { method, body: text, headers: { DPoP: made, ...json, ...headers } });
    const type = answer.headers.get("content-type") ?? "";
    return { status: answer.status, type, headers: answer.headers, body: await answer.json(), proof: made };
  }

  async register(enrolmentKey, capabilities) {
    const body = { agentId: this.id, capabilities, protocols: ["asp/1.0"], visibility: "cell", jwk: this.jwk };
    const ath = base64url(sha256(enrolmentKey));
    const headers = { authorization: `Bearer ${enrolmentKey}` };
    return this.call("POST", "/v1/asp/registry", { body, headers, claims: { ath } });
  }

  /** Sends a message: its proof stands in the header, or in the message beside an ordinary request proof. */
  async send(path, body, envelope) {
    const claims = { asp_hash: envelopeHash(envelope) };
    if (!this.inBody) return this.call("POST", path, { body, claims });
    const proof = await this.prove(base + path, "POST", claims);
    return this.call("POST", path, { body: { ...body, proof } });
  }

  async message(sessionId, message, parts = {}) {
    const { performative, referenceId, seen, terms } = message;
    const body = { messageId: uuid7(), ...message };
    const salt = newSalt();
    if (Object.keys(parts).length > 0) {
      body.salt = base64url(salt);
      if (parts.content !== undefined) body.content = parts.content;
      if (parts.personal !== undefined) body.personal = parts.personal;
    }
    const named = parts.content === undefined ? {} : { content: parts.content };
    for (const [subject, value] of Object.entries(parts.personal ?? {})) named[personal(salt, subject)] = value;
    const { messageId } = body;
    const signed = { sessionId, messageId, sender: this.you, performative, referenceId, seen, terms };
    return this.send(`/v1/asp/sessions/${sessionId}/messages`, body, { ...signed, parts: commit(salt, named) });
  }
}

const placed = ({ status, body }) => {
  assert.equal(status, 201, `expected a placed record, got ${status} ${JSON.stringify(body)}`);
  return body;
};

const refused = ({ status, type, body }, code) => {
  assert.equal(body.code, code, `expected ${code}, got ${status} ${JSON.stringify(body)}`);
  assert.match(type, /^application\/problem\+json/);
  assert.equal(body.type, `urn:asp:error:${code}`);
};

const seen = ({ sequence, hash }) => ({ sequence, hash });

const jwks = jose.createLocalJWKSet(await (await fetch(`${base}/.well-known/jwks.json`)).json());
const configuration = await (await fetch(`${base}/.well-known/asp-configuration`)).json();
assert.equal(configuration.version, "1.0");

const buyer = new Agent(`agent://${buyers.organisation}/buyer`, await byDpop(), { inBody: false });
const seller = new Agent(`agent://${sellers.organisation}/seller`, await byJose(), { inBody: true });
assert.equal((await buyer.register(buyers.enrolmentKey, ["adapters.buy"])).status, 201);
assert.equal((await seller.register(sellers.enrolmentKey, ["adapters.sell"])).status, 201);
refused(await seller.register("not the key", ["adapters.sell"]), "unauthorized");

// Invite: the inviter draws its own participant id.
const sessionId = uuid7();
const invitees = [seller.id];
const terms = { purpose: "Restock: USB-C adapters", constraints: { maxDuration: "PT2H" } };
buyer.you = uuid4();
const invitation = uuid7();
const inviteSalt = newSalt();
const opened = placed(
  await buyer.send(
    "/v1/asp/sessions",
    { sessionId, messageId: invitation, participantId: buyer.you, invitees, ...terms, salt: base64url(inviteSalt) },
    { sessionId, messageId: invitation, sender: buyer.you, performative: "INVITE", terms, parts: commit(inviteSalt, { invitees }) },
  ),
);
assert.equal(opened.state, "INVITED");

// Answer: the invitee learns from the session who it is and what it has to name.
const session = (await seller.call("GET", `/v1/asp/sessions/${sessionId}`)).body;
seller.you = session.you;
const answer = { messageId: uuid7(), accept: true };
const introduced = placed(
  await seller.send(`/v1/asp/sessions/${sessionId}/answer`, answer, {
    sessionId,
    messageId: answer.messageId,
    sender: seller.you,
    performative: "INTRODUCE",
    referenceId: session.asks,
  }),
);
assert.equal(introduced.state, "INTRODUCED");

// Converse and agree.
const offer = placed(
  await buyer.message(
    sessionId,
    { performative: "PROPOSE", terms: { amount: "90.00", currency: "USD", quantity: 10, unit: "piece" } },
    { content: { text: "10 adapters at $9.00 — café ☕", exact: 0.1, big: 1e21 }, personal: { "contact-1": { name: "Ada" } } },
  ),
);
const accepted = placed(
  await seller.message(sessionId, {
    performative: "ACCEPT",
    referenceId: offer.record.messageId,
    seen: seen(offer.record),
    terms: {},
  }),
);
const commitmentId = uuid7();
const deadline = new Date(Date.now() + 3_600_000).toISOString();
const committed = placed(
  await seller.message(sessionId, {
    performative: "COMMIT",
    referenceId: offer.record.messageId,
    seen: seen(accepted.record),
    terms: { commitmentId, kind: "delivery", beneficiary: buyer.you, deadline },
  }),
);
assert.equal(committed.state, "EXECUTING");

// What must be refused: a proof over another message, a proof used twice, an act out of turn.
const forged = { sessionId, messageId: uuid7(), sender: buyer.you, performative: "QUERY", terms: { tokens: 2 } };
const query = { messageId: forged.messageId, performative: "QUERY", terms: { tokens: 1 } };
refused(await buyer.send(`/v1/asp/sessions/${sessionId}/messages`, query, forged), "hash_mismatch");
const read = await buyer.call("GET", `/v1/asp/sessions/${sessionId}`);
refused(await buyer.call("GET", `/v1/asp/sessions/${sessionId}`, { proof: read.proof }), "proof_replayed");
refused(await buyer.message(sessionId, { performative: "CLOSE", seen: seen(committed.record), terms: { outcome: "success" } }), "state_violation");

// Execute and close.
const fulfilled = placed(
  await seller.message(
    sessionId,
    { performative: "FULFILL", seen: seen(committed.record), terms: { commitmentId } },
    { content: { tracking: "FX-8847" } },
  ),
);
const confirmed = placed(
  await buyer.message(sessionId, {
    performative: "ACCEPT",
    referenceId: fulfilled.record.messageId,
    seen: seen(fulfilled.record),
  }),
);
const closed = placed(
  await buyer.message(sessionId, { performative: "CLOSE", seen: seen(confirmed.record), terms: { outcome: "success", rating: 5 } }),
);
assert.equal(closed.state, "CLOSED");

// Check the whole chain by our own means.
const { messages, head } = (await buyer.call("GET", `/v1/asp/sessions/${sessionId}/messages?limit=500`)).body;
let previous = base64url(Buffer.alloc(32));
for (const record of messages) {
  assert.equal(record.previousHash, previous);
  assert.equal(recordHash(record), record.hash, `record ${record.sequence} does not hash to what it shows`);
  assert.deepEqual(unopened(record), []);
  assert.equal(base64url(sha256(record.proof)), record.proofHash);
  previous = record.hash;
}
assert.deepEqual(head, { sequence: messages.length, hash: previous });

const answers = [opened, introduced, offer, accepted, committed, fulfilled, confirmed, closed];
for (const { record, receipt } of answers) {
  const { payload, protectedHeader } = await jose.compactVerify(receipt, jwks);
  const said = JSON.parse(new TextDecoder().decode(payload));
  assert.equal(protectedHeader.typ, "asp-receipt+jwt");
  assert.deepEqual([said.sessionId, said.sequence, said.hash], [sessionId, record.sequence, record.hash]);
}

console.log(JSON.stringify({ sessionId, records: messages.length, receipts: answers.length, head: head.hash }));
