//! `/v1/discover`: the nodes that a client may connect to, and the transport that suits it. Needs
//! no token: a client calls it before it logs in.

use std::time::Duration;

use axum::Json as Reply;
use axum::extract::State;
use pabal_core::model::NodeId;
use pabal_core::ports::NodeInfo;
use pabal_core::protocol::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::request::{ClientAddress, Parameters, ReachedAt};
use super::{Api, Failure};
use crate::discovery::{Ranked, advise, rank};

/// A node that accepts sessions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Node)]
struct NodeView {
    /// The name of the node, which is part of the ids of its sessions.
    #[schema(value_type = String, example = "n1")]
    node: NodeId,
    /// The base URL of its HTTP interface.
    url: String,
    /// The URL for opening a session by WebSocket in one step.
    websocket_url: String,
    region: String,
    /// The distance between client and node; null unless both locations are known.
    distance_km: Option<f64>,
    /// The number of sessions on the node.
    load: u32,
    /// The number of sessions that the node accepts.
    capacity: u32,
}

impl std::convert::From<Ranked> for NodeView {
    fn from(Ranked { node: info, distance_km }: Ranked) -> Self {
        Self {
            // Locations are not known to more than a hundred metres.
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

/// The transport that suits the client.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Advice)]
struct AdviceView {
    /// The name of the transport in the session document.
    #[schema(example = "websocket")]
    transport: &'static str,
    /// The interval between polls, for `polling`.
    #[serde(skip_serializing_if = "Option::is_none")]
    poll_interval_ms: Option<u64>,
    /// An explanation for people: the server cost of this transport and of the others.
    why: String,
}

/// The nodes to connect to, and a transport.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Discovered {
    /// The best node first. Near nodes come before far ones; nodes at about the same distance are
    /// shuffled, weighted by free capacity. Full and draining nodes are left out.
    nodes: Vec<NodeView>,
    advice: AdviceView,
}

/// Find a node and a transport
///
/// Ranks the live nodes that are neither draining nor full. The distance counts if `lat` and `lon`
/// are given or the location of the client's address is known. Nodes at about the same distance are
/// shuffled, weighted by free capacity, so that clients which take the first one spread over all of
/// them. Advises a transport for the expected message rate and the acceptable latency.
#[utoipa::path(get, path = "/v1/discover", tag = "discovery", security(()),
    params(
        ("lat" = Option<f64>, Query, description = "Degrees north; with `lon`"),
        ("lon" = Option<f64>, Query, description = "Degrees east; with `lat`"),
        ("message_rate" = Option<f64>, Query, description = "Expected messages per second"),
        ("latency_ms" = Option<f64>, Query, description = "Acceptable delay of a message, in milliseconds"),
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
) -> Result<Reply<Discovered>, Failure> {
    let latitude = parameters.number("lat", -90.0..=90.0)?;
    let longitude = parameters.number("lon", -180.0..=180.0)?;
    if latitude.is_some() != longitude.is_some() {
        let missing = if latitude.is_some() { "lon" } else { "lat" };
        return Err(Problem::invalid(missing, "send lat and lon together").into());
    }
    let message_rate = parameters.number("message_rate", 0.0..=1e6)?;
    let latency_ms = parameters.number("latency_ms", 0.0..=86_400_000.0)?;
    let mut nodes = api.engine.ports().registry.nodes().await?;
    let draining = api.draining.is_cancelled();
    nodes.retain(|info| !(draining && is_this(&api, info)));
    for info in nodes.iter_mut().filter(|info| is_this(&api, info)) {
        // This request shows how the client reaches this node, and the load is known exactly.
        info.url = reached.http();
        info.websocket_url = format!("{}/v1/websocket", reached.websocket());
        info.load = u32::try_from(api.engine.stats().sessions).unwrap_or(u32::MAX);
    }
    let by_address = || api.geo.as_ref()?.locate(address);
    let client = latitude.zip(longitude).or_else(by_address);
    let nodes = rank(nodes, client, &mut rand::rng());
    let nodes = nodes.into_iter().map(NodeView::from).collect();
    let advice = advise(message_rate, latency_ms, api.engine.limits().resume_window);
    let advice = AdviceView {
        transport: advice.transport,
        poll_interval_ms: advice.poll_interval.map(millis),
        why: advice.why,
    };
    Ok(Reply(Discovered { nodes, advice }))
}

fn is_this(api: &Api, info: &NodeInfo) -> bool {
    info.node == *api.engine.node()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
