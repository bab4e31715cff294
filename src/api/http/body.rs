//! A request's body: its size, its encoding, its type.
//!
//! Source: docs/spec/details.md section 11 (262,144 raw bytes pass, 262,145 do not; `Content-Encoding` is 415).

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use futures::StreamExt as _;

use super::media::{Format, unsupported};
use crate::protocol::refusal::{Code, Refusal};
use crate::wire::json::{MAX_BODY_BYTES, check_size};

/// How much of a body that is too large is read on, so that its sender comes to read the answer.
const DISCARDED: usize = 4 * 1024 * 1024;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads a whole body and settles its format.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<(Bytes, Format), Refusal> {
    let timeout = || Refusal::new(Code::Timeout, "the body did not arrive within 30 s; send it again");
    let bytes = tokio::time::timeout(PATIENCE, collect(headers, body)).await.map_err(|_| timeout())??;
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(unsupported("Content-Encoding"));
    }
    Ok((bytes, Format::of_body(headers)?))
}

async fn collect(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES.saturating_add(DISCARDED)) {
        return check_size(usize::MAX).map(|()| Bytes::new());
    }
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(MAX_BODY_BYTES).min(MAX_BODY_BYTES);
    let mut collected = Vec::with_capacity(expected);
    let mut chunks = body.into_data_stream();
    let mut length = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::invalid("", "a complete body").status(400))?;
        length = length.saturating_add(chunk.len());
        if length > MAX_BODY_BYTES.saturating_add(DISCARDED) {
            break;
        }
        if length <= MAX_BODY_BYTES {
            collected.extend_from_slice(&chunk);
        }
    }
    check_size(length).map(|()| collected.into())
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    async fn status(length: usize, encoded: bool) -> Result<usize, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        if encoded {
            headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        }
        let chunks =
            vec![b' '; length].chunks(100_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
        let read = read(&headers, Body::from_stream(futures::stream::iter(chunks))).await;
        read.map(|(bytes, _)| bytes.len()).map_err(|refusal| refusal.http_status())
    }

    #[tokio::test]
    async fn the_limit_is_exact() {
        assert_eq!(status(MAX_BODY_BYTES, false).await, Ok(MAX_BODY_BYTES));
        assert_eq!(status(MAX_BODY_BYTES + 1, false).await, Err(413));
        assert_eq!(status(MAX_BODY_BYTES + DISCARDED + 1, false).await, Err(413));
        assert_eq!(status(10, true).await, Err(415));
    }
}
