//! `/v1/discover`: where to connect, and how. Needs no log-in: it comes before everything else.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use pabal_core::model::NodeId;
use pabal_core::ports::NodeInfo;
use pabal_core::protocol::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::request::{Parameters, ReachedAt};
use super::{Api, Failure};
use crate::discovery::{advise, distance_km};

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
    /// For people.
    why: &'static str,
}

/// Where to connect, and how.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Discovered {
    /// The best first: the nearest, and among those as near the emptiest.
    nodes: Vec<NodeView>,
    advice: AdviceView,
}

/// Where to connect, and how.
///
/// Ranks the live nodes that do not drain, by distance if `lat` and `lon` are given, and by free
/// capacity. Advises a transport for the messages a second that the client expects and how long it
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
    nodes.retain(|info| !(info.draining || leaving && is_this(&api, info)));
    for info in nodes.iter_mut().filter(|info| is_this(&api, info)) {
        // The client has just shown how it reaches this node, and its load is known exactly.
        info.url = reached.http();
        info.websocket_url = format!("{}/v1/websocket", reached.websocket());
        info.load = u32::try_from(api.engine.stats().sessions).unwrap_or(u32::MAX);
    }
    let nodes = ranked(nodes, latitude.zip(longitude));
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

/// Full nodes last; then by distance, the unknown behind the known; then by free capacity.
fn ranked(nodes: Vec<NodeInfo>, client: Option<(f64, f64)>) -> Vec<NodeView> {
    let mut views: Vec<NodeView> = nodes
        .into_iter()
        .map(|info| NodeView {
            distance_km: client
                .zip(info.location)
                .map(|(client, node)| (distance_km(client, node) * 10.0).round() / 10.0),
            node: info.node,
            url: info.url,
            websocket_url: info.websocket_url,
            region: info.region,
            load: info.load,
            capacity: info.capacity,
        })
        .collect();
    let rank = |view: &NodeView| {
        let share = f64::from(view.load) / f64::from(view.capacity.max(1));
        let full = view.load >= view.capacity;
        (full, view.distance_km.unwrap_or(f64::INFINITY), share)
    };
    views.sort_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        let far = a.1.total_cmp(&b.1);
        a.0.cmp(&b.0).then(far).then(a.2.total_cmp(&b.2))
    });
    views
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, location: Option<(f64, f64)>, load: u32) -> NodeInfo {
        NodeInfo {
            node: name.parse().expect("a node name"),
            url: String::new(),
            websocket_url: String::new(),
            region: String::new(),
            location,
            capacity: 10,
            load,
            draining: false,
        }
    }

    fn names(nodes: Vec<NodeInfo>, client: Option<(f64, f64)>) -> Vec<String> {
        let ranked = ranked(nodes, client);
        ranked.iter().map(|view| view.node.to_string()).collect()
    }

    #[test]
    fn the_nearest_comes_first_and_a_full_one_last() {
        let (seoul, frankfurt) = (Some((37.6, 127.0)), Some((50.1, 8.7)));
        let nodes = || {
            vec![
                node("far", frankfurt, 0),
                node("nowhere", None, 0),
                node("near", seoul, 9),
                node("full", seoul, 10),
            ]
        };
        let busan = Some((35.2, 129.1));
        assert_eq!(names(nodes(), busan), ["near", "far", "nowhere", "full"]);
        assert_eq!(names(nodes(), None), ["far", "nowhere", "near", "full"]);
    }
}
