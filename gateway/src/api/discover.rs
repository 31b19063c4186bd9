//! `/v1/discover`: where to connect, and how. Needs no log-in: it comes before everything else.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use pabal_core::model::NodeId;
use pabal_core::ports::NodeInfo;
use pabal_core::protocol::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::request::{ClientAddress, Parameters, ReachedAt};
use super::{Api, Failure};
use crate::discovery::{Ranked, advise, rank};

/// A node that takes sessions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Node)]
struct NodeView {
    /// Its name, part of the ids of its sessions.
    #[schema(value_type = String, example = "n1")]
    node: NodeId,
    /// Its HTTP interface.
    url: String,
    /// Where to open a WebSocket in one step.
    websocket_url: String,
    region: String,
    /// How far it is, if the client and the node say where they are; otherwise null.
    distance_km: Option<f64>,
    /// Sessions it has.
    load: u32,
    /// Sessions it takes.
    capacity: u32,
}

impl std::convert::From<Ranked> for NodeView {
    fn from(Ranked { node: info, distance_km }: Ranked) -> Self {
        Self {
            // Nobody is nearer to a place than a hundred metres.
            distance_km: distance_km.map(|km| (km * 10.0).round() / 10.0),
            node: info.node,
            url: info.url,
            websocket_url: info.websocket_url,
            region: info.region,
            load: info.load,
            capacity: info.capacity,
        }
    }
}

/// Which transport suits the client.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Advice)]
struct AdviceView {
    /// As it is named in the session document.
    #[schema(example = "websocket")]
    transport: &'static str,
    /// How often to poll, for `polling`.
    #[serde(skip_serializing_if = "Option::is_none")]
    poll_interval_ms: Option<u64>,
    /// For people: what it costs the server, and what the others would.
    why: String,
}

/// Where to connect, and how.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Discovered {
    /// The best first: the near before the far, those about as near by lot, by how much room each
    /// has. Full and draining ones are left out.
    nodes: Vec<NodeView>,
    advice: AdviceView,
}

/// Where to connect, and how.
///
/// Ranks the live nodes that do not drain and are not full, by distance if `lat` and `lon` are given or
/// the client's address tells, and by lot according to free capacity, so that clients which take the first one spread. Advises a transport for the messages a second that the client expects and how long it
/// can wait for each.
#[utoipa::path(get, path = "/v1/discover", tag = "discovery", security(()),
    params(
        ("lat" = Option<f64>, Query, description = "Degrees north; with `lon`"),
        ("lon" = Option<f64>, Query, description = "Degrees east; with `lat`"),
        ("message_rate" = Option<f64>, Query, description = "Messages a second expected"),
        ("latency_ms" = Option<f64>, Query, description = "How long one may take to arrive"),
    ),
    responses(
        (status = 200, description = "Nodes and advice", body = Discovered),
        (status = 422, description = "`invalid`"),
    ))]
pub(super) async fn discover(
    State(api): State<Api>,
    ReachedAt(reached): ReachedAt,
    ClientAddress(address): ClientAddress,
    parameters: Parameters,
) -> Result<Answer<Discovered>, Failure> {
    let latitude = parameters.number("lat", -90.0..=90.0)?;
    let longitude = parameters.number("lon", -180.0..=180.0)?;
    if latitude.is_some() != longitude.is_some() {
        let missing = if latitude.is_some() { "lon" } else { "lat" };
        return Err(Problem::invalid(missing, "lat and lon go together").into());
    }
    let message_rate = parameters.number("message_rate", 0.0..=1e6)?;
    let latency_ms = parameters.number("latency_ms", 0.0..=86_400_000.0)?;
    let mut nodes = api.engine.ports().registry.nodes().await?;
    let leaving = api.draining.is_cancelled();
    nodes.retain(|info| !(leaving && is_this(&api, info)));
    for info in nodes.iter_mut().filter(|info| is_this(&api, info)) {
        // The client has just shown how it reaches this node, and its load is known exactly.
        info.url = reached.http();
        info.websocket_url = format!("{}/v1/websocket", reached.websocket());
        info.load = u32::try_from(api.engine.stats().sessions).unwrap_or(u32::MAX);
    }
    let known = || api.places.as_ref()?.locate(address);
    let client = latitude.zip(longitude).or_else(known);
    let nodes = rank(nodes, client, &mut rand::rng());
    let nodes = nodes.into_iter().map(NodeView::from).collect();
    let advice = advise(message_rate, latency_ms, api.engine.limits().resume_window);
    let advice = AdviceView {
        transport: advice.transport,
        poll_interval_ms: advice.poll_interval.map(millis),
        why: advice.why,
    };
    Ok(Answer(Discovered { nodes, advice }))
}

fn is_this(api: &Api, info: &NodeInfo) -> bool {
    info.node == *api.engine.node()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
