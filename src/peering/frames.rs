//! Frames out of a stream's bytes. Nothing is allocated on the word of a length: the buffer grows with what came.

use bytes::{Buf as _, BytesMut};
use quinn::{ReadError, RecvStream};

use super::ending::Ending;
use crate::protocol::refusal::{Code, Refusal};
use crate::wire::link::{BadFrame, LinkFrame, VERSION};

/// Bytes taken from the stream at once.
const CHUNK: usize = 64 << 10;

/// The receiving half of a link.
#[derive(Debug)]
pub(super) struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame if it is all there; a length over `longest` ends the link.
    pub(super) fn take(&mut self, longest: usize) -> Result<Option<LinkFrame>, Ending> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > longest {
            return Err(Ending::violation(format!("a frame of {length} bytes; at most {longest} are taken here")));
        }
        let Some(bytes) = rest.get(..length) else { return Ok(None) };
        let frame = LinkFrame::read(bytes).map_err(|error| unreadable(&error))?;
        self.buffer.advance(4 + length);
        Ok(Some(frame))
    }

    /// Waits for more bytes. May be dropped at any time and loses nothing.
    pub(super) async fn fill(&mut self) -> Result<(), Ending> {
        match self.stream.read_chunk(CHUNK, true).await {
            Ok(Some(chunk)) => {
                // What was read is let go as soon as nothing is left of it, and does not stay for as long as the link lasts.
                if self.buffer.is_empty() {
                    self.buffer = BytesMut::from(chunk.bytes);
                } else {
                    self.buffer.extend_from_slice(&chunk.bytes);
                }
                Ok(())
            }
            Ok(None) => Err(Ending::down("the peer ended its stream")),
            Err(ReadError::ConnectionLost(error)) => Err(Ending::of(&error)),
            Err(error) => Err(Ending::down(error.to_string())),
        }
    }

    /// Waits for the next frame.
    pub(super) async fn next(&mut self, longest: usize) -> Result<LinkFrame, Ending> {
        loop {
            if let Some(frame) = self.take(longest)? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }
}

fn unreadable(error: &BadFrame) -> Ending {
    match error {
        BadFrame::Version(_) => {
            let refusal = Refusal::new(Code::VersionUnsupported, error.to_string());
            Ending::by(refusal.with("supported", serde_json::json!([VERSION])))
        }
        BadFrame::Empty | BadFrame::Form(_) => Ending::violation(error.to_string()),
    }
}
