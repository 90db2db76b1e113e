//! Bodies that are never copied: bytes, the chain of a segment's parts, or a file.
//!
//! Every size is known beforehand, so every answer has a Content-Length.

use std::{
    fmt, io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tower_http::services::fs::ServeFileSystemResponseBody;
use vitrine_core::media::Segment;

/// What a resource of the origin consists of.
#[derive(Clone, Debug)]
pub enum Content {
    /// One piece.
    Whole(Bytes),
    /// The parts of a segment, one after the other; missing ones are nothing.
    Chain(Arc<Segment>),
}

impl Content {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Chain(segment) => segment.bytes() as u64,
        }
    }

    /// The body that sends `range` of it; the range must lie within.
    pub fn body(self, range: Range<u64>) -> Body {
        Body(match self {
            Self::Whole(bytes) => {
                // Both ends are at most the length, which is a usize.
                Kind::Whole(bytes.slice(range.start as usize..range.end as usize))
            }
            Self::Chain(segment) => Kind::Chain {
                segment,
                part: 0,
                skip: range.start,
                left: range.end - range.start,
            },
        })
    }
}

/// The body of an answer.
pub struct Body(Kind);

enum Kind {
    /// Empty once sent.
    Whole(Bytes),
    Chain {
        segment: Arc<Segment>,
        /// Index of the part to be sent next.
        part: usize,
        /// Bytes of the chain, from that part on, that are not asked for.
        skip: u64,
        /// Bytes still to be sent.
        left: u64,
    },
    File(ServeFileSystemResponseBody),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = hyper::body::Body::size_hint(self).exact();
        f.debug_struct("Body")
            .field("size", &size)
            .finish_non_exhaustive()
    }
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Kind::Whole(Bytes::new()))
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self(Kind::Whole(bytes.into()))
    }
}

impl Body {
    /// The body of a file being read.
    pub fn file(file: ServeFileSystemResponseBody) -> Self {
        Self(Kind::File(file))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = match &mut self.0 {
            Kind::File(file) => return Pin::new(file).poll_frame(cx),
            Kind::Whole(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
            Kind::Chain {
                segment,
                part,
                skip,
                left,
            } => link(segment, part, skip, left),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Chain { left, .. } => *left == 0,
            Kind::File(file) => file.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Chain { left, .. } => SizeHint::with_exact(*left),
            Kind::File(file) => file.size_hint(),
        }
    }
}

/// The next piece of a chain.
fn link(segment: &Segment, part: &mut usize, skip: &mut u64, left: &mut u64) -> Option<Bytes> {
    while *left > 0 {
        let data = segment.parts.get(*part)?.data.as_ref();
        *part += 1;
        let size = data.map_or(0, |data| data.len() as u64);
        if *skip >= size {
            *skip -= size;
            continue;
        }
        let from = std::mem::take(skip);
        let to = size.min(from + *left);
        *left -= to - from;
        return data.map(|data| data.slice(from as usize..to as usize));
    }
    None
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use vitrine_core::media::{Part, WallTime};

    use super::*;

    fn chain(parts: &[Option<&'static str>]) -> Content {
        let parts = (parts.iter().zip(0..)).map(|(data, number)| Part {
            number,
            duration: 1,
            independent: false,
            data: data.map(|text| Bytes::from_static(text.as_bytes())),
        });
        Content::Chain(Arc::new(Segment {
            msn: 0,
            start: 0,
            duration: 1,
            program_date_time: WallTime(0),
            discontinuity: false,
            init: 0,
            parts: parts.collect(),
        }))
    }

    #[tokio::test]
    async fn every_range_of_a_chain_is_the_same_range_of_its_bytes() {
        let content = chain(&[Some("abc"), None, Some(""), Some("d"), Some("efgh")]);
        let whole = "abcdefgh";
        assert_eq!(content.size(), 8);
        for from in 0..=8 {
            for to in from..=8 {
                let body = content.clone().body(from..to);
                assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(to - from));
                let sent = body.collect().await.expect("no I/O").to_bytes();
                assert_eq!(
                    sent,
                    &whole.as_bytes()[from as usize..to as usize],
                    "{from}..{to}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_part_is_sent_without_being_copied() {
        let content = chain(&[Some("abc"), Some("def")]);
        let Content::Chain(segment) = &content else {
            unreachable!("made above")
        };
        let second = segment.parts[1].data.clone().expect("there").as_ptr();
        let mut body = content.clone().body(0..6);
        body.frame().await;
        let frame = body.frame().await.expect("second").expect("no I/O");
        assert_eq!(frame.into_data().expect("data").as_ptr(), second);
    }
}
