//! [`Body`]: what an answer carries: bytes that are there, or a stream that comes as it is made.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{mpsc, watch};

/// The body of an answer.
pub enum Body {
    /// Bytes that are there; `None` once they are sent.
    Whole(Option<Bytes>),
    /// Pieces that are sent as they come.
    Stream(Stream),
}

/// Pieces that are sent as they come, until their maker or the server ends them.
pub struct Stream {
    pieces: mpsc::Receiver<Bytes>,
    /// Done when the server stops. It would wait for the end of the stream otherwise.
    stopped: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Body {
    /// Pieces that come out of a channel, whose bound is how far their maker may run ahead.
    #[must_use]
    pub fn stream(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self::Stream(Stream { pieces, stopped: None })
    }

    /// Ends a stream when the server stops.
    pub(super) fn end_with(&mut self, mut stopped: watch::Receiver<bool>) {
        if let Self::Stream(stream) = self {
            stream.stopped = Some(Box::pin(async move {
                // An error means that the server is gone.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            }));
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Stream(Stream { pieces, stopped }) => {
                let over = stopped.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready());
                if over {
                    return Poll::Ready(None);
                }
                pieces.poll_recv(cx)
            }
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
