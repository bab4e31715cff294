//! Wrapping keys in a token of PKCS#11.
//!
//! Each operation opens a session of its own and logs in: there are a few of them a day, and a token that was away
//! meanwhile is found again. A library is loaded once in a process and stays loaded, since it has one state for all.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::entropy::OsEntropy;
use super::wrapping::{Pin, Token, Wrapper};
use crate::crypto::entropy::draw;
use crate::crypto::secret::Secret;
use crate::disk::private;

/// Bytes of a nonce of AES-GCM.
const NONCE: usize = 12;
/// Bits of its tag.
const TAG_BITS: u64 = 128;

/// Libraries that this process has loaded.
static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// A cell's wrapping keys in a token.
#[derive(Debug)]
pub struct TokenKeys {
    library: Pkcs11,
    label: String,
    cell: String,
    pin: AuthPin,
}

impl TokenKeys {
    /// Loads the library and logs in once, so that what is wrong is known at start.
    pub fn open(token: &Token, cell: &str) -> Result<Self, String> {
        let library = load(&token.module).map_err(|error| error.to_string())?;
        let pin = AuthPin::new(pin(&token.pin)?.as_str().into());
        let keys = Self { library, label: token.label.clone(), cell: cell.to_owned(), pin };
        keys.session().map_err(|error| error.to_string())?;
        Ok(keys)
    }

    fn session(&self) -> io::Result<Session> {
        let slots = self.library.get_slots_with_token().map_err(failed)?;
        let is_ours = |slot: &cryptoki::slot::Slot| {
            self.library.get_token_info(*slot).is_ok_and(|token| token.label() == self.label)
        };
        let slot = slots.into_iter().find(is_ours).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no token labelled {:?}", self.label))
        })?;
        let session = self.library.open_rw_session(slot).map_err(failed)?;
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(failed(error)),
        }
    }

    /// The object's label: cells may share a token.
    fn object(&self, name: &str) -> String {
        format!("asp-cell {} {name}", self.cell)
    }

    fn find(&self, session: &Session, name: &str) -> io::Result<Vec<ObjectHandle>> {
        let wanted = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(self.object(name).into_bytes())];
        session.find_objects(&wanted).map_err(failed)
    }
}

impl Wrapper for TokenKeys {
    fn wrap(&self, name: &str, key: &Secret) -> io::Result<Vec<u8>> {
        self.destroy(name)?;
        let session = self.session()?;
        let object = self.object(name);
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(32.into()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Label(object.clone().into_bytes()),
        ];
        let handle = session.generate_key(&Mechanism::AesKeyGen, &template).map_err(failed)?;
        let nonce: [u8; NONCE] = draw(&mut OsEntropy);
        let mut iv = nonce;
        let gcm = GcmParams::new(&mut iv, object.as_bytes(), TAG_BITS.into()).map_err(failed)?;
        let sealed = session.encrypt(&Mechanism::AesGcm(gcm), handle, key.expose()).map_err(failed)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn unwrap(&self, name: &str, wrapped: &[u8]) -> io::Result<Option<Secret>> {
        let session = self.session()?;
        let Some(handle) = self.find(&session, name)?.first().copied() else { return Ok(None) };
        let not_ours = || io::Error::new(io::ErrorKind::InvalidData, "what the token wrapped is damaged");
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE>().ok_or_else(not_ours)?;
        let (mut iv, object) = (*nonce, self.object(name));
        let gcm = GcmParams::new(&mut iv, object.as_bytes(), TAG_BITS.into()).map_err(failed)?;
        let opened = Zeroizing::new(session.decrypt(&Mechanism::AesGcm(gcm), handle, sealed).map_err(failed)?);
        let mut bytes = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| not_ours())?;
        Ok(Some(Secret::take(&mut bytes)))
    }

    fn destroy(&self, name: &str) -> io::Result<()> {
        let session = self.session()?;
        for handle in self.find(&session, name)? {
            session.destroy_object(handle).map_err(failed)?;
        }
        if self.find(&session, name)?.is_empty() {
            Ok(())
        } else {
            Err(io::Error::other("a key that was destroyed is still in the token"))
        }
    }
}

fn load(module: &Path) -> io::Result<Pkcs11> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = loaded.get(module) {
        return Ok(library.clone());
    }
    let library = Pkcs11::new(module).map_err(failed)?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(failed(error)),
    }
    loaded.insert(module.to_owned(), library.clone());
    Ok(library)
}

fn pin(pin: &Pin) -> Result<Zeroizing<String>, String> {
    match pin {
        Pin::Variable(name) => {
            let read = std::env::var(name).map(Zeroizing::new);
            read.map_err(|_| format!("the environment variable {name} with the token's PIN is not set"))
        }
        Pin::File(path) => {
            let bytes = private::read(path).map_err(|error| error.to_string())?;
            let text = std::str::from_utf8(&bytes).map_err(|_| format!("{}: is no text", path.display()))?;
            Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
        }
    }
}

fn failed(error: Error) -> io::Error {
    io::Error::other(format!("the PKCS#11 token: {error}"))
}
