//! The table entry of a mounted transport: the transport within its layers, with its type erased.

use tower::{Layer, Service};

use crate::layers::{MeterLayer, RateLimitLayer, TraceLayer};
use crate::requests::Requests;
use crate::transport::{Attach, Location, ResponseFuture, Transport};

type Call = Box<dyn Fn(Attach) -> ResponseFuture + Send + Sync>;
type Describe = Box<dyn Fn(&Location<'_>) -> serde_json::Value + Send + Sync>;

/// A transport within its layers, as an entry of the table of mounted ones. Here its type is erased, so
/// that the table holds any transport; the box of the future is the only allocation per request.
pub(crate) struct Mounted {
    pub(crate) name: &'static str,
    pub(crate) mount: &'static str,
    pub(crate) reads: bool,
    pub(crate) waits: bool,
    pub(crate) describe: Describe,
    pub(crate) call: Call,
}

impl Mounted {
    pub(crate) fn new<T: Transport>(transport: T, requests: &Requests) -> Self {
        let described = transport.clone();
        let metered = MeterLayer.layer(transport);
        let limited = RateLimitLayer::new(requests.clone()).layer(metered);
        let service = TraceLayer::new(T::NAME).layer(limited);
        Self {
            name: T::NAME,
            mount: T::MOUNT,
            reads: T::READS,
            waits: T::WAITS,
            describe: Box::new(move |at| described.describe(at)),
            // The contract says that `poll_ready` is ready at once, so the call needs no poll before it.
            call: Box::new(move |attach| Box::pin(service.clone().call(attach))),
        }
    }
}
