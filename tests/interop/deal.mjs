// Strikes a small deal between two agents, as strangers would: one agent's proofs are made by the library `dpop`, the
// other's by `jose`, receipts are checked by `jose`, and every hash is computed here. The agents may be at home in one
// cell or in two that have a consent for metadata and content.
//
// Environment: ASP_ORGS, JSON of the buyer's and the seller's organisation: [{"organisation", "enrolmentKey", "url"}].
// Prints one JSON object; exits 1 with what was expected and what came.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import * as dpop from "dpop";
import * as jose from "jose";
import { base64url, commit, envelopeHash, newSalt, personal, recordHash, sha256, unopened, uuid4, uuid7 } from "./asp.mjs";

const [buyers, sellers] = JSON.parse(process.env.ASP_ORGS);
const abroad = buyers.url !== sellers.url;

/** Asks until there is an answer; a cell that never has one fails the test. */
async function until(what, ask) {
  for (let tries = 0; tries < 300; tries += 1) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await sleep(100);
  }
  assert.fail(`waited 30 s for ${what}`);
}

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
  constructor(name, { organisation, enrolmentKey, url }, keys, { inBody }) {
    const id = `agent://${organisation}/${name}`;
    Object.assign(this, { id, enrolmentKey, base: url.replace(/\/$/, ""), ...keys, inBody });
  }

  /** The keys of its own cell, which sign the receipts it is given. */
  async meet() {
    const get = async (path) => (await fetch(this.base + path)).json();
    this.jwks = jose.createLocalJWKSet(await get("/.well-known/jwks.json"));
    assert.equal((await get("/.well-known/asp-configuration")).version, "1.0");
  }

  async call(method, path, { body, claims, headers = {}, proof } = {}) {
    const url = this.base + path;
    const made = proof ?? (await this.prove(url.split("?")[0], method, claims));
    const json = body === undefined ? {} : { "content-type": "application/json" };
    const text = body === undefined ? undefined : JSON.stringify(body);
    const answer = await fetch(url, { method, body: text, headers: { DPoP: made, ...json, ...headers } });
    const type = answer.headers.get("content-type") ?? "";
    return { status: answer.status, type, headers: answer.headers, body: await answer.json(), proof: made };
  }

  async register(capabilities, enrolmentKey = this.enrolmentKey) {
    const body = { agentId: this.id, capabilities, protocols: ["asp/1.0"], visibility: "cell", jwk: this.jwk };
    const ath = base64url(sha256(enrolmentKey));
    const headers = { authorization: `Bearer ${enrolmentKey}` };
    return this.call("POST", "/v1/asp/registry", { body, headers, claims: { ath } });
  }

  /** Sends a message: its proof stands in the header, or in the message beside an ordinary request proof. */
  async sendOnce(path, body, envelope) {
    const claims = { asp_hash: envelopeHash(envelope) };
    if (!this.inBody) return this.call("POST", path, { body, claims });
    const proof = await this.prove(this.base + path, "POST", claims);
    return this.call("POST", path, { body: { ...body, proof } });
  }

  /** As the contract says after 202: the same message with a fresh proof until it is placed or refused. */
  async send(path, body, envelope) {
    return until("a place for the message", async () => {
      const answer = await this.sendOnce(path, body, envelope);
      return answer.status === 202 ? undefined : answer;
    });
  }

  /** Waits until its own cell shows a record. */
  async sees({ sequence }, sessionId) {
    return until(`record ${sequence}`, async () => {
      const { body } = await this.call("GET", `/v1/asp/sessions/${sessionId}/messages?limit=500`);
      return body.messages?.find((record) => record.sequence === sequence);
    });
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

const buyer = new Agent("buyer", buyers, await byDpop(), { inBody: false });
const seller = new Agent("seller", sellers, await byJose(), { inBody: true });
await Promise.all([buyer.meet(), seller.meet()]);
assert.equal((await buyer.register(["adapters.buy"])).status, 201);
assert.equal((await seller.register(["adapters.sell"])).status, 201);
refused(await seller.register(["adapters.sell"], "not the key"), "unauthorized");

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
const session = await until("the invitation", async () => {
  const { status, body } = await seller.call("GET", `/v1/asp/sessions/${sessionId}`);
  return status === 200 ? body : undefined;
});
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
const offered = await seller.sees(offer.record, sessionId);
const details = Object.keys(offer.record.parts).find((name) => name.startsWith("personal/"));
assert.equal(offered.parts[details].status, abroad ? "withheld" : undefined);
assert.deepEqual(offered.parts.content.value, offer.record.parts.content.value);
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
await seller.sees(committed.record, sessionId);
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

// Check both agents' whole chains, and every receipt, by our own means.
const heads = [];
for (const agent of [buyer, seller]) {
  await agent.sees(closed.record, sessionId);
  const { messages, head } = (await agent.call("GET", `/v1/asp/sessions/${sessionId}/messages?limit=500`)).body;
  let previous = base64url(Buffer.alloc(32));
  for (const record of messages) {
    assert.equal(record.previousHash, previous);
    assert.equal(recordHash(record), record.hash, `record ${record.sequence} does not hash to what it shows`);
    assert.deepEqual(unopened(record), []);
    assert.equal(base64url(sha256(record.proof)), record.proofHash);
    previous = record.hash;
  }
  assert.deepEqual(head, { sequence: messages.length, hash: previous });
  heads.push(head);
}
assert.deepEqual(heads[0], heads[1]);

const answers = { buyer: [opened, offer, confirmed, closed], seller: [introduced, accepted, committed, fulfilled] };
const receipts = [...answers.buyer.map((answer) => [buyer, answer]), ...answers.seller.map((answer) => [seller, answer])];
for (const [agent, { record, receipt }] of receipts) {
  const { payload, protectedHeader } = await jose.compactVerify(receipt, agent.jwks);
  const said = JSON.parse(new TextDecoder().decode(payload));
  assert.equal(protectedHeader.typ, "asp-receipt+jwt");
  assert.deepEqual([said.sessionId, said.sequence, said.hash], [sessionId, record.sequence, record.hash]);
}

console.log(JSON.stringify({ sessionId, records: heads[0].sequence, receipts: receipts.length, head: heads[0].hash }));
