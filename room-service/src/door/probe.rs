//! `/livez` and `/readyz` on the gRPC listener, over HTTP/1.1 or HTTP/2. What is not a probe goes on to gRPC.

use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::{Request, Response};
use runtime::Health;
use tonic::body::Body;
use tower::{Layer, Service};

/// Answers probes before gRPC sees them.
#[derive(Clone, Debug)]
pub(crate) struct ProbeLayer {
    health: Health,
}

/// See [`ProbeLayer`].
#[derive(Clone, Debug)]
pub(crate) struct Probe<Inner> {
    health: Health,
    inner: Inner,
}

impl ProbeLayer {
    /// Answers from `health`.
    pub(crate) fn new(health: Health) -> Self {
        Self { health }
    }
}

impl<Inner> Layer<Inner> for ProbeLayer {
    type Service = Probe<Inner>;

    fn layer(&self, inner: Inner) -> Probe<Inner> {
        Probe { health: self.health.clone(), inner }
    }
}

impl<Inner, In> Service<Request<In>> for Probe<Inner>
where
    Inner: Service<Request<In>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = Inner::Error;
    type Future = Either<Ready<Result<Response<Body>, Inner::Error>>, Inner::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Inner::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        match self.health.answer(request.uri().path()) {
            Some((status, words)) => {
                let mut response = Response::new(Body::new(words));
                *response.status_mut() = status;
                Either::Left(ready(Ok(response)))
            }
            None => Either::Right(self.inner.call(request)),
        }
    }
}
