//! The operators' bearer token: compared in constant time, never printed.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use zeroize::Zeroizing;

use super::status::status_of;
use crate::protocol::refusal::{Code, Refusal};

/// The content of `data_dir/operator.token`.
#[derive(Clone)]
pub struct Token(Arc<Zeroizing<String>>);

impl Token {
    /// The token as it stands in its file; white space around it is not part of it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.trim().to_owned())))
    }

    /// The metadata value that carries it.
    #[must_use]
    pub fn header(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", self.0.as_str()))
    }
}

impl Interceptor for Token {
    /// Lets a call through if it carries the token.
    fn call(&mut self, call: Request<()>) -> Result<Request<()>, Status> {
        let presented = call.metadata().get("authorization").map(MetadataValue::as_bytes);
        match presented {
            Some(bytes) if bytes.ct_eq(self.header().as_bytes()).into() => Ok(call),
            Some(_) => Err(refused("the bearer token is not the one in this cell's operator.token")),
            None => Err(refused("expected authorization: Bearer <data_dir/operator.token>")),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn refused(detail: &str) -> Status {
    status_of(&Refusal::new(Code::Unauthorized, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(authorization: Option<&str>) -> Request<()> {
        let mut call = Request::new(());
        if let Some(value) = authorization {
            call.metadata_mut().insert("authorization", value.parse().unwrap());
        }
        call
    }

    #[test]
    fn only_the_whole_token_is_admitted() {
        let mut token = Token::new("s3cret\n");
        assert!(token.call(call(Some("Bearer s3cret"))).is_ok());
        for wrong in
            [None, Some(""), Some("s3cret"), Some("Bearer s3cre"), Some("Bearer s3crets"), Some("bearer s3cret")]
        {
            let status = token.call(call(wrong)).unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{wrong:?}");
        }
    }

    #[test]
    fn it_does_not_print() {
        assert_eq!(format!("{:?}", Token::new("s3cret")), "Token(..)");
    }
}
