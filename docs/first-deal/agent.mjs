// An agent in one file, for the README's first deal: Node's own crypto, no package.
// node agent.mjs URL KEYFILE register AGENT ENROLMENT_KEY
// node agent.mjs URL KEYFILE invite PURPOSE INVITEE...
// node agent.mjs URL KEYFILE answer SESSION accept|decline
// node agent.mjs URL KEYFILE send SESSION PERFORMATIVE [MEMBERS]     MEMBERS: JSON, e.g. {"referenceId":"…","terms":{…}}
// node agent.mjs URL KEYFILE get PATH[?QUERY]
import { createHash, createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, randomUUID, sign } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const [url, keyFile, verb, ...rest] = process.argv.slice(2);
if (!existsSync(keyFile)) {
  const made = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  writeFileSync(keyFile, JSON.stringify(made.export({ format: "jwk" })), { mode: 0o600 });
}
const key = createPrivateKey({ key: JSON.parse(readFileSync(keyFile)), format: "jwk" });
const jwk = createPublicKey(key).export({ format: "jwk" });

const b64 = (bytes) => Buffer.from(bytes).toString("base64url");
const sha = (...pieces) => pieces.reduce((hash, piece) => hash.update(piece), createHash("sha256")).digest();
// RFC 8785 for what is sent here: members sorted, numbers and strings as JavaScript writes them.
const jcs = (v) =>
  Array.isArray(v) ? `[${v.map(jcs)}]`
  : v && typeof v === "object" ? `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}:${jcs(v[k])}`)}}`
  : JSON.stringify(v);
const uuid7 = () => {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = (bytes[6] & 15) | 0x70;
  bytes[8] = (bytes[8] & 63) | 0x80;
  return bytes.toString("hex").replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
};
// RFC 9449, with the hash of the whole message as asp_hash.
const proof = (htm, path, aspHash) => {
  const claims = { jti: randomUUID(), htm, htu: url + path, iat: Math.floor(Date.now() / 1000), ...(aspHash && { asp_hash: aspHash }) };
  const signed = [{ typ: "dpop+jwt", alg: "ES256", jwk }, claims].map((part) => b64(JSON.stringify(part))).join(".");
  return `${signed}.${b64(sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" }))}`;
};
const call = async (method, path, body, aspHash, headers = {}) => {
  const answer = await fetch(url + path, {
    method,
    headers: { dpop: proof(method, path.split("?")[0], aspHash), ...(body && { "content-type": "application/json" }), ...headers },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status} ${text}`);
  return JSON.parse(text);
};
// docs/spec/protocol.md section 2: parts are salted and committed, the envelope is hashed.
const commit = (salt, name, value) => {
  const partSalt = createHmac("sha256", salt).update(name).digest();
  return b64(sha("asp/1.0 part", Buffer.from([0]), partSalt, jcs(value)));
};
const envelope = (members) => b64(sha(jcs({ type: "asp/1.0 envelope", ...members })));

const verbs = {
  register: ([agentId, enrolmentKey]) =>
    call("POST", "/v1/asp/registry", { agentId, capabilities: ["deal"], protocols: ["asp/1.0"], jwk }, undefined, { authorization: `Bearer ${enrolmentKey}` }),
  invite: async ([purpose, ...invitees]) => {
    const salt = randomBytes(32);
    const [sessionId, messageId, participantId] = [uuid7(), uuid7(), randomUUID()];
    const E = envelope({ sessionId, messageId, sender: participantId, performative: "INVITE", terms: { purpose }, parts: { invitees: commit(salt, "invitees", invitees) } });
    return call("POST", "/v1/asp/sessions", { sessionId, messageId, participantId, invitees, purpose, answerWithin: "PT10M", salt: b64(salt) }, E);
  },
  answer: async ([session, word]) => {
    const { you, asks } = await call("GET", `/v1/asp/sessions/${session}`);
    const [messageId, accept] = [uuid7(), word === "accept"];
    const E = envelope({ sessionId: session, messageId, sender: you, performative: accept ? "INTRODUCE" : "DECLINE", referenceId: asks, parts: {} });
    return call("POST", `/v1/asp/sessions/${session}/answer`, { messageId, accept }, E);
  },
  send: async ([session, performative, given = "{}"]) => {
    const { you, head } = await call("GET", `/v1/asp/sessions/${session}`);
    const { content, personal, ...members } = JSON.parse(given);
    const seen = ["ACCEPT", "COMMIT", "FULFILL", "CLOSE"].includes(performative) && { seen: head };
    const message = { messageId: uuid7(), performative, ...members, ...seen };
    const salt = randomBytes(32);
    const tag = (ref) => b64(createHmac("sha256", salt).update(`asp/1.0 subject\0${ref}`).digest().subarray(0, 16));
    const parts = {
      ...(content !== undefined && { content: commit(salt, "content", content) }),
      ...Object.fromEntries(Object.entries(personal ?? {}).map(([ref, value]) => [`personal/${tag(ref)}`, commit(salt, `personal/${tag(ref)}`, value)])),
    };
    const E = envelope({ sessionId: session, sender: you, parts, ...message });
    const salted = Object.keys(parts).length > 0 && { salt: b64(salt) };
    return call("POST", `/v1/asp/sessions/${session}/messages`, { ...message, ...(content !== undefined && { content }), ...(personal && { personal }), ...salted }, E);
  },
  get: ([path]) => call("GET", path),
};
try {
  console.log(JSON.stringify(await verbs[verb](rest), null, 1));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
