//! JSON bodies: bytes in, a strictly read value out, or the refusal that says where and why.
//!
//! Size first, then syntax, then what the contract forbids in JSON itself; shapes are `wire::message`'s. Source:
//! docs/spec/details.md section 1 "Order and retries", "Values".

use serde_json::Value;

use crate::crypto::json::{Flaw, Rejected, Rules, read as read_strictly};
use crate::protocol::refusal::{Code, Refusal};

/// Most bytes of a request's body: so many pass, one more does not (docs/spec/details.md section 11).
pub const MAX_BODY_BYTES: usize = 262_144;

/// Reads a body that is one value; nesting counts from it.
pub fn read(body: &[u8]) -> Result<Value, Refusal> {
    check_size(body.len())?;
    read_strictly(body, Rules::REQUEST).map_err(refuse)
}

/// Reads a body that is one message or an array of messages; in an array nesting counts from each message.
pub fn read_batch(body: &[u8]) -> Result<Value, Refusal> {
    check_size(body.len())?;
    let array = body.trim_ascii_start().first() == Some(&b'[');
    let depth = Rules::REQUEST.depth + usize::from(array);
    read_strictly(body, Rules { depth, ..Rules::REQUEST }).map_err(refuse)
}

/// Refuses a body of so many bytes if it is too large.
pub fn check_size(bytes: usize) -> Result<(), Refusal> {
    if bytes <= MAX_BODY_BYTES {
        return Ok(());
    }
    let detail = format!("the body is longer than {MAX_BODY_BYTES} bytes; send less, or by reference");
    Err(Refusal::new(Code::PayloadTooLarge, detail).with("limit", MAX_BODY_BYTES.into()))
}

/// 400 for bytes that do not parse, 422 for JSON that the contract forbids.
fn refuse(rejected: Rejected) -> Refusal {
    let refusal = Refusal::invalid(rejected.at, rejected.flaw.to_string());
    match rejected.flaw {
        Flaw::ByteOrderMark | Flaw::Encoding | Flaw::Syntax => refusal.status(400),
        Flaw::Duplicate | Flaw::Surrogate | Flaw::Number | Flaw::Depth => refusal,
    }
}
