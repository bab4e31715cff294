//! What can be erased, sealed so that destroying one secret is enough.
//!
//! A copy that organisation H of this cell holds of what organisation A's agent sent is sealed under a key derived
//! from the secrets of all scopes it belongs to: A, A's share of the session, the agents, the data subject; and,
//! where H is another, H, H's share of the session, and H's own view of that subject. Any one of them gone, the copy
//! is unreadable. Source: docs/spec/federation.md section 4.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

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
    /// How often each organisation's secret of the session was renewed (`tables::Kept`).
    pub renewed: &'a Renewed,
}

/// How often an organisation's secret of a session was replaced by another, so that one message could be forgotten.
pub type Renewed = BTreeMap<OrgName, u32>;

impl Owned<'_> {
    /// The tags of the scopes of the copy that `holder` keeps.
    fn tags(&self, shared: &Shared, holder: &OrgName) -> Vec<Tag> {
        let one = |organisation: &OrgName| {
            let whole = shared.tags.scope(&Scope::Organisation(organisation.clone()));
            let subject = self.subject.map(|subject| Scope::Subject(organisation.clone(), subject.clone()));
            let share = share(shared, self.renewed, self.session, organisation);
            [whole, share].into_iter().chain(subject.map(|scope| shared.tags.scope(&scope)))
        };
        let agents = self.agents.iter().map(|agent| shared.tags.scope(&Scope::Agent(agent.clone())));
        let mut tags: Vec<Tag> = one(self.organisation).chain(agents).collect();
        if holder != self.organisation {
            tags.extend(one(holder));
        }
        tags
    }
}

/// The tag of an organisation's secret of a session as it is now.
pub fn share(shared: &Shared, renewed: &Renewed, session: SessionId, organisation: &OrgName) -> Tag {
    match renewed.get(organisation) {
        None | Some(0) => shared.tags.scope(&Scope::Session(session, organisation.clone())),
        Some(times) => {
            shared.tags.name("session", &[session.bytes(), organisation.as_str().as_bytes(), &times.to_be_bytes()])
        }
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
    let plain =
        Zeroizing::new(postcard::to_stdvec(value).map_err(|error| bug(format!("a part does not encode: {error}")))?);
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
    let scopes = owned.tags(shared, holder);
    let sealed = seal_under(shared, entropy, &scopes, place, holder, plain)?;
    Ok(Copy { holder: holder.clone(), scopes, sealed })
}

fn seal_under(
    shared: &Shared,
    entropy: &mut dyn Entropy,
    scopes: &[Tag],
    place: &[u8],
    holder: &OrgName,
    plain: &[u8],
) -> Result<Vec<u8>, Fault> {
    let secrets = scopes.iter().map(|tag| shared.vault.put(*tag)).collect::<Result<Vec<_>, _>>()?;
    let key = kdf::derive(&secrets.iter().collect::<Vec<_>>(), &[PURPOSE]);
    let nonce = entropy::draw(entropy);
    Ok(seal::seal(&key, &nonce, &[PURPOSE, place, holder.as_str().as_bytes()], plain))
}

/// Seals the copies that need a secret for which `to` names another one under that; whether there were any. What does
/// not open any more stays as it is.
pub fn move_all(
    shared: &Shared,
    entropy: &mut dyn Entropy,
    place: &[u8],
    copies: &mut Copies,
    to: &dyn Fn(Tag) -> Option<Tag>,
) -> Step<bool> {
    let mut moved = false;
    for copy in copies {
        if !copy.scopes.iter().any(|tag| to(*tag).is_some()) {
            continue;
        }
        let Some(plain) = plain(shared, place, copy)? else { continue };
        let scopes: Vec<Tag> = copy.scopes.iter().map(|tag| to(*tag).unwrap_or(*tag)).collect();
        copy.sealed = seal_under(shared, entropy, &scopes, place, &copy.holder, &plain)?;
        copy.scopes = scopes;
        moved = true;
    }
    Ok(moved)
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
    let Some(plain) = plain(shared, place, copy)? else { return Ok(None) };
    postcard::from_bytes(&plain).map(Some).map_err(|error| bug(format!("a copy does not decode: {error}")))
}

/// What a copy holds; `None` where a secret of it is destroyed.
fn plain(shared: &Shared, place: &[u8], copy: &Copy) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
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
    Ok(Some(plain))
}

/// Drops the copies that needed one of `tags`; whether there were any.
pub fn drop_under(copies: &mut Copies, tags: &[Tag]) -> bool {
    let before = copies.len();
    copies.retain(|copy| !copy.scopes.iter().any(|scope| tags.contains(scope)));
    copies.len() != before
}

/// The name at which a sender's profile lies, beside the parts of its message.
pub const PROFILE: &str = "profile";

/// The place of a part or box in a session, authenticated with its bytes: moved elsewhere it does not open.
pub fn place(session: SessionId, message: &[u8; 16], name: &str) -> Vec<u8> {
    [session.bytes().as_slice(), message.as_slice(), name.as_bytes()].concat()
}
