//! Organisations and agents of this cell: enrolment, registration, key rotation.
//!
//! Source: docs/spec/protocol.md section 7, docs/spec/details.md section 7.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::core::{Batch, Engine};
use super::operation::Verified;
use super::request::Registration;
use super::shared::Shared;
use super::stop::{Step, bug};
use super::tables::{self, AGENTS, AGENTS_OF, Agent, AgentKey, AgentRow, ConsentKey, KEYS, KEYS_OF, ORGS, Org, What};
use crate::crypto::digest::{Digest, base64url};
use crate::crypto::es256::SigningKey;
use crate::crypto::jwk::PublicKey;
use crate::crypto::{entropy, kdf, seal};
use crate::protocol::ids::{AgentId, CellId, OrgName};
use crate::protocol::json::Json;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::residency::{Policy, Zone};
use crate::protocol::statement::{KeyStatement, Statement as _};
use crate::protocol::trust::Identity;
use crate::store::{Fault, View as Rows};
use crate::vault::Scope;

const PURPOSE: &[u8] = b"asp-cell/1 agent";

/// Reads an agent of this cell, as committed or as this transaction has it.
pub fn agent(shared: &Shared, rows: &impl Rows, id: &AgentId) -> Result<Option<Agent>, Fault> {
    agent_of(shared, rows, shared.agent_tag(id))
}

/// The same by its name in keys.
pub fn agent_of(shared: &Shared, rows: &impl Rows, tag: tables::Tag) -> Result<Option<Agent>, Fault> {
    rows.get(&AGENTS, &tag)?.map_or(Ok(None), |row| open_agent(shared, tag, &row))
}

/// Opens an agent's row; `None` once a secret of it is destroyed.
pub fn open_agent(shared: &Shared, tag: tables::Tag, row: &AgentRow) -> Result<Option<Agent>, Fault> {
    let mut found = Vec::new();
    for scope in &row.scopes {
        match shared.vault.secret(*scope)? {
            Some(secret) => found.push(secret),
            None => return Ok(None),
        }
    }
    let key = kdf::derive(&found.iter().collect::<Vec<_>>(), &[PURPOSE]);
    let plain = seal::open(&key, &[PURPOSE, &tag.0], &row.sealed)
        .map_err(|_| bug("an agent's row does not open under its scopes".to_owned()))?;
    postcard::from_bytes(&plain).map(Some).map_err(|error| bug(format!("an agent does not decode: {error}")))
}

impl Agent {
    /// The current key.
    pub fn key(&self) -> Option<&AgentKey> {
        self.keys.last()
    }
}

impl Engine {
    fn put_agent(&mut self, batch: &mut Batch<'_>, agent: &Agent) -> Step<()> {
        let organisation = agent.id.organisation();
        let tag = self.shared.agent_tag(&agent.id);
        let scopes = [Scope::Organisation(organisation.clone()), Scope::Agent(agent.id.clone())];
        let scopes = scopes.map(|scope| self.shared.tags.scope(&scope));
        let mut secrets = Vec::new();
        for scope in scopes {
            secrets.push(self.shared.vault.put(scope)?);
        }
        let key = kdf::derive(&secrets.iter().collect::<Vec<_>>(), &[PURPOSE]);
        let plain = Zeroizing::new(
            postcard::to_stdvec(agent).map_err(|error| bug(format!("an agent does not encode: {error}")))?,
        );
        let nonce = entropy::draw(&mut *self.entropy);
        let sealed = seal::seal(&key, &nonce, &[PURPOSE, &tag.0], &plain);
        batch.put(&AGENTS_OF, &(self.shared.org_tag(&organisation), tag), &())?;
        batch.put(&AGENTS, &tag, &AgentRow { organisation, scopes: scopes.to_vec(), sealed })?;
        Ok(())
    }

    /// Registers an agent, updates its profile, or rotates its key: whether it was the first time.
    pub(super) fn register(&mut self, batch: &mut Batch<'_>, request: Registration) -> Step<(bool, AgentId)> {
        let organisation = request.agent.organisation();
        let enrolment = Digest::of(&[request.enrolment_key.as_bytes()]);
        let known = self.facts.orgs.get(&organisation).is_some_and(|org| org.enrolment == enrolment);
        if !known {
            let detail = format!("no enrolment key of {organisation} in this cell; `org add` printed it once");
            return Err(Refusal::new(Code::Unauthorized, detail).into());
        }
        if !self.spend(batch, request.spent)? {
            return Err(Refusal::new(Code::ProofReplayed, "this proof's jti was used before; make a new proof").into());
        }
        let tag = self.shared.agent_tag(&request.agent);
        let existing = agent(&self.shared, &batch.txn, &request.agent)?;
        let current = existing.as_ref().and_then(Agent::key).map(|key| key.thumbprint);
        let fresh_key = current != Some(request.thumbprint);
        if fresh_key && batch.txn.get(&KEYS, &request.thumbprint)?.is_some() {
            return Err(Refusal::invalid("/jwk", "a key that no agent of this cell has or had").into());
        }
        let first = existing.is_none();
        let mut agent = existing.unwrap_or_else(|| Agent {
            id: request.agent.clone(),
            capabilities: Vec::new(),
            protocols: Vec::new(),
            region: String::new(),
            description: None,
            federated: false,
            keys: Vec::new(),
            registered_at: batch.now,
        });
        agent.capabilities = request.capabilities;
        agent.protocols = request.protocols;
        agent.region = request.region.unwrap_or_else(|| self.shared.settings.region.clone());
        agent.description = request.description;
        agent.federated = request.federated;
        if fresh_key {
            self.add_key(batch, &mut agent, &request.jwk, request.thumbprint);
            batch.put(&KEYS, &request.thumbprint, &tag)?;
            batch.put(&KEYS_OF, &(tag, request.thumbprint), &())?;
            self.directory_changes.push((current, Some((request.thumbprint, agent.id.clone()))));
            batch.effects.agents.insert(tag);
            self.audit(batch, "key", organisation.as_str(), &request.thumbprint.to_string(), &tag.0)?;
        }
        self.put_agent(batch, &agent)?;
        Ok((first, agent.id))
    }

    /// Ends the current key and begins another, each with this cell's statement.
    fn add_key(&self, batch: &Batch<'_>, agent: &mut Agent, jwk: &Value, thumbprint: Digest) {
        if let Some(key) = agent.keys.last_mut() {
            key.until = Some(batch.now);
            key.statement = self.state_key(&agent.id, key.thumbprint, key.from, key.until);
        }
        let statement = self.state_key(&agent.id, thumbprint, batch.now, None);
        agent.keys.push(AgentKey { jwk: Json::of(jwk), thumbprint, from: batch.now, until: None, statement });
    }

    fn state_key(
        &self,
        agent: &AgentId,
        jkt: Digest,
        from: crate::protocol::time::Timestamp,
        until: Option<crate::protocol::time::Timestamp>,
    ) -> String {
        KeyStatement { agent_id: agent.clone(), jkt, from, until }.sign(&self.shared.signer.key)
    }

    /// `org verify`: how well the identity of an organisation's agents is established from now on.
    pub(super) fn org_verify(&mut self, batch: &mut Batch<'_>, name: &OrgName, how: &Verified) -> Step<Value> {
        let mut org = self.facts.orgs.get(name).cloned().ok_or_else(|| not_home(name))?;
        let identity = match how {
            Verified::Dns(records) => {
                let own = self.shared.signer.key.thumbprint().to_string();
                if !records.contains(&own) {
                    let detail =
                        format!("no TXT record of _asp.{name} is {own}, the thumbprint of this cell's signing key");
                    return Err(Refusal::new(Code::PolicyViolation, detail).with("found", json!(records)).into());
                }
                self.audit(batch, "operator", "operator", name.as_str(), b"org verify dns")?;
                Identity::Domain
            }
            Verified::Scim(issuer, evidence) => {
                let what = format!("org verify scim {issuer} {evidence}");
                self.audit(batch, "operator", "operator", name.as_str(), what.as_bytes())?;
                Identity::Scim
            }
        };
        org.verified = Some(identity);
        batch.put(&ORGS, &self.shared.org_tag(name), &org)?;
        self.change_facts(batch, |facts| {
            facts.orgs.insert(name.clone(), org);
        });
        Ok(json!({"organisation": name, "identityLevel": identity.level()}))
    }

    /// `org add`: makes the enrolment key, shown once, and a consent key that the cell holds.
    pub(super) fn org_add(&mut self, batch: &mut Batch<'_>, name: &OrgName) -> Step<Value> {
        if self.facts.orgs.contains_key(name) {
            return Err(Refusal::new(Code::Duplicate, format!("{name} is at home here already")).into());
        }
        let enrolment = base64url(&entropy::draw::<32>(&mut *self.entropy));
        let org = Org {
            name: name.clone(),
            enrolment: Digest::of(&[enrolment.as_bytes()]),
            policy: Policy::at_home_in(&zone(&self.shared.settings.zone)?),
            consent_key: self.new_consent_key()?,
            old_keys: Vec::new(),
            verified: None,
            added_at: batch.now,
        };
        self.audit(batch, "operator", "operator", name.as_str(), b"org add")?;
        self.put_org(batch, name, org)?;
        self.tell_organisations(batch)?;
        Ok(json!({"organisation": name, "enrolmentKey": enrolment}))
    }

    /// Peers hear of every change at once; one that was never linked hears of it with its first link.
    fn tell_organisations(&mut self, batch: &mut Batch<'_>) -> Step<()> {
        let linked = self.facts.peers.iter().filter(|(_, peer)| peer.jwks.is_some());
        let peers: Vec<CellId> = linked.map(|(cell, _)| cell.clone()).collect();
        for peer in peers {
            self.queue(batch, &peer, What::Organisations)?;
        }
        Ok(())
    }

    pub(super) fn put_org(&mut self, batch: &mut Batch<'_>, name: &OrgName, org: Org) -> Step<()> {
        batch.put(&ORGS, &self.shared.org_tag(name), &org)?;
        self.change_facts(batch, |facts| {
            facts.orgs.insert(name.clone(), org);
        });
        Ok(())
    }

    pub(super) fn org(&self, name: &OrgName) -> Step<Org> {
        let found = self.facts.orgs.get(name).cloned();
        found.ok_or_else(|| not_home(name).into())
    }

    fn new_consent_key(&mut self) -> Step<ConsentKey> {
        let seed = Zeroizing::new(entropy::draw::<32>(&mut *self.entropy));
        let key = SigningKey::generate(&seed).map_err(|error| bug(error.to_string()))?;
        let pem = key.to_pkcs8_pem().map_err(|error| bug(error.to_string()))?;
        Ok(ConsentKey::Held(pem.as_bytes().to_vec()))
    }

    /// `org key`: shows the consent key, replaces it, or takes the organisation's own.
    pub(super) fn org_key(&mut self, batch: &mut Batch<'_>, name: &OrgName, change: KeyChange) -> Step<Value> {
        let mut org = self.org(name)?;
        let replacement = match change {
            KeyChange::Show => None,
            KeyChange::Rotate => Some(self.new_consent_key()?),
            KeyChange::Own(text) => {
                let expected = "a P-256 public key: a JWK without private members, or PEM";
                let jwk: Option<Value> = serde_json::from_str(&text).ok();
                let key = jwk.and_then(|jwk| PublicKey::from_jwk(&jwk).ok()).or_else(|| PublicKey::from_pem(&text));
                let key = key.ok_or_else(|| Refusal::invalid("/publicKey", expected))?;
                Some(ConsentKey::Own(Json::of(&key.to_jwk())))
            }
        };
        if let Some(key) = replacement {
            org.old_keys.push(Json::of(&consent_public(&org)?.to_jwk()));
            org.consent_key = key;
            self.audit(batch, "key", "operator", name.as_str(), b"org key")?;
            self.put_org(batch, name, org.clone())?;
            self.tell_organisations(batch)?;
        }
        let key = consent_public(&org)?;
        Ok(json!({"kid": key.thumbprint(), "jwk": key.to_jwk()}))
    }

    /// `org policy`: shows or changes the zones an organisation's data may enter.
    pub(super) fn org_policy(&mut self, batch: &mut Batch<'_>, name: &OrgName, change: PolicyChange) -> Step<Value> {
        let mut org = self.org(name)?;
        let before = org.policy.clone();
        match change {
            PolicyChange::Show => {}
            PolicyChange::Allow(name, basis) => org.policy = org.policy.allowing(zone(&name)?, basis),
            PolicyChange::Deny(name) => org.policy = org.policy.denying(zone(&name)?),
        }
        if org.policy != before {
            self.audit(batch, "operator", "operator", name.as_str(), b"org policy")?;
            self.put_org(batch, name, org.clone())?;
            self.suspend_beyond_policy(batch, name)?;
        }
        Ok(json!({"organisation": name, "zones": org.policy.to_json()}))
    }
}

/// A zone by its text.
pub(super) fn zone(text: &str) -> Step<Zone> {
    Ok(text.parse().map_err(|bad| Refusal::invalid("/zone", format!("{bad}")))?)
}

/// What `org key` is to do.
pub(super) enum KeyChange {
    Show,
    Rotate,
    Own(String),
}

/// What `org policy` is to do.
pub(super) enum PolicyChange {
    Show,
    Allow(String, String),
    Deny(String),
}

/// The refusal for an organisation that is not at home here.
pub(super) fn not_home(name: &OrgName) -> Refusal {
    Refusal::new(Code::NotFound, format!("{name} is not at home in this cell; see `org list`"))
}

/// The public half of an organisation's consent key.
pub(super) fn consent_public(org: &Org) -> Result<PublicKey, Fault> {
    match &org.consent_key {
        ConsentKey::Held(_) => Ok(*held_key(org)?.ok_or_else(|| bug("no held key".to_owned()))?.public()),
        ConsentKey::Own(jwk) => PublicKey::from_jwk(&jwk.value()).map_err(|bad| bug(bad.reason().to_owned())),
    }
}

/// The private consent key, where the cell holds it.
pub(super) fn held_key(org: &Org) -> Result<Option<SigningKey>, Fault> {
    match &org.consent_key {
        ConsentKey::Held(pem) => {
            let pem = std::str::from_utf8(pem).map_err(|error| bug(error.to_string()))?;
            SigningKey::from_pkcs8_pem(pem).map(Some).map_err(|error| bug(error.to_string()))
        }
        ConsentKey::Own(_) => Ok(None),
    }
}

/// `org list`.
pub(super) fn org_list(shared: &Shared) -> Value {
    let facts = shared.facts.load();
    let orgs: Vec<Value> =
        facts.orgs.iter().map(|(name, org)| json!({"organisation": name, "policy": org.policy.names()})).collect();
    json!({"organisations": orgs})
}
