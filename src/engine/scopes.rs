//! What can be erased, sealed so that destroying one secret is enough.
//!
//! A copy that organisation H of this cell holds of what organisation A's agent sent is sealed under a key derived
//! from the secrets of all scopes it belongs to: A, A's share of the session, the agents, the data subject; and,
//! where H is another, H, H's share of the session, and H's own view of that subject. Any one of them gone, the copy
//! is unreadable. Source: docs/spec/federation.md section 4.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shared::Shared;
use super::stop::{Step, bug};
use super::tables::{Copies, Copy};
use crate::crypto::entropy::{self, Entropy};
use crate::crypto::{kdf, seal};
use crate::protocol::ids::{AgentId, OrgName, SessionId, SubjectRef};
use crate::store::Fault;
use crate::vault::{Scope, Tag};

/// What the keys of copies are derived for; other uses of the same secrets would name another purpose.
const PURPOSE: &[u8] = b"asp-cell/1 copy";

/// Whose something is: this decides its scopes.
#[derive(Debug, Clone)]
pub struct Owned<'a> {
    /// The session.
    pub session: SessionId,
    /// The sender's organisation.
    pub organisation: &'a OrgName,
    /// The agents concerned: the sender, and those the part names.
    pub agents: Vec<AgentId>,
    /// The data subject.
    pub subject: Option<&'a SubjectRef>,
}

impl Owned<'_> {
    /// The scopes of the copy that `holder` keeps.
    pub fn scopes(&self, holder: &OrgName) -> Vec<Scope> {
        let mut scopes = vec![
            Scope::Organisation(self.organisation.clone()),
            Scope::Session(self.session, self.organisation.clone()),
        ];
        scopes.extend(self.agents.iter().cloned().map(Scope::Agent));
        scopes.extend(self.subject.map(|subject| Scope::Subject(self.organisation.clone(), subject.clone())));
        if holder != self.organisation {
            scopes.push(Scope::Organisation(holder.clone()));
            scopes.push(Scope::Session(self.session, holder.clone()));
            scopes.extend(self.subject.map(|subject| Scope::Subject(holder.clone(), subject.clone())));
        }
        scopes
    }
}

/// Seals `value` for each of `holders`. New scopes get their secrets; the caller syncs the vault before it commits.
pub fn close<T: Serialize>(
    shared: &Shared,
    entropy: &mut dyn Entropy,
    owned: &Owned<'_>,
    place: &[u8],
    holders: &[OrgName],
    value: &T,
) -> Step<Copies> {
    let plain = zeroize::Zeroizing::new(
        postcard::to_stdvec(value).map_err(|error| bug(format!("a part does not encode: {error}")))?,
    );
    holders.iter().map(|holder| close_one(shared, entropy, owned, place, holder, &plain)).collect()
}

fn close_one(
    shared: &Shared,
    entropy: &mut dyn Entropy,
    owned: &Owned<'_>,
    place: &[u8],
    holder: &OrgName,
    plain: &[u8],
) -> Step<Copy> {
    let mut scopes = Vec::new();
    let mut secrets = Vec::new();
    for scope in owned.scopes(holder) {
        let tag = shared.tags.scope(&scope);
        secrets.push(shared.vault.put(tag)?);
        scopes.push(tag);
    }
    let key = kdf::derive(&secrets.iter().collect::<Vec<_>>(), &[PURPOSE]);
    let nonce = entropy::draw(entropy);
    let sealed = seal::seal(&key, &nonce, &[PURPOSE, place, holder.as_str().as_bytes()], plain);
    Ok(Copy { holder: holder.clone(), scopes, sealed })
}

/// Opens the copy that `holder` keeps; `None` where it keeps none, or a secret of it is destroyed.
pub fn open<T: DeserializeOwned>(
    shared: &Shared,
    place: &[u8],
    holder: &OrgName,
    copies: &Copies,
) -> Result<Option<T>, Fault> {
    match copies.iter().find(|copy| copy.holder == *holder) {
        Some(copy) => open_one(shared, place, copy),
        None => Ok(None),
    }
}

/// Opens whichever copy still opens: for what the cell itself does (forwarding, proofs).
pub fn open_any<T: DeserializeOwned>(shared: &Shared, place: &[u8], copies: &Copies) -> Result<Option<T>, Fault> {
    for copy in copies {
        if let Some(value) = open_one(shared, place, copy)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn open_one<T: DeserializeOwned>(shared: &Shared, place: &[u8], copy: &Copy) -> Result<Option<T>, Fault> {
    let mut secrets = Vec::new();
    for tag in &copy.scopes {
        match shared.vault.secret(*tag)? {
            Some(secret) => secrets.push(secret),
            None => return Ok(None),
        }
    }
    let key = kdf::derive(&secrets.iter().collect::<Vec<_>>(), &[PURPOSE]);
    let plain = seal::open(&key, &[PURPOSE, place, copy.holder.as_str().as_bytes()], &copy.sealed)
        .map_err(|_| bug("a copy does not open under its live scopes".to_owned()))?;
    postcard::from_bytes(&plain).map(Some).map_err(|error| bug(format!("a copy does not decode: {error}")))
}

/// Drops the copies that needed one of `tags`; whether there were any.
pub fn drop_under(copies: &mut Copies, tags: &[Tag]) -> bool {
    let before = copies.len();
    copies.retain(|copy| !copy.scopes.iter().any(|scope| tags.contains(scope)));
    copies.len() != before
}

/// The same; `None` in place of an empty list.
pub fn drop_all(copies: &mut Option<Copies>, tags: &[Tag]) -> bool {
    let changed = copies.as_mut().is_some_and(|copies| drop_under(copies, tags));
    if copies.as_ref().is_some_and(Vec::is_empty) {
        *copies = None;
    }
    changed
}

/// The name at which a sender's profile lies, beside the parts of its message.
pub const PROFILE: &str = "profile";

/// The place of a part or box in a session, authenticated with its bytes: moved elsewhere it does not open.
pub fn place(session: SessionId, message: &[u8; 16], name: &str) -> Vec<u8> {
    [session.bytes().as_slice(), message.as_slice(), name.as_bytes()].concat()
}
