//! In which order nodes are named to a client: the near before the far, and among those about as
//! near by lot, each as likely to be the first as it has room. A thousand clients that ask at once
//! and take the first therefore spread, although the loads they are told are those of seconds ago.

use pabal_core::ports::NodeInfo;
use rand::{Rng, RngExt};

use super::distance_km;

/// Within about this distance nodes are as near; beyond it each further one counts for 1/e: what
/// light needs a millisecond for, there and back in fibre.
const AS_NEAR_KM: f64 = 100.0;
/// How far a node is that does not say where it is: as far as any can be.
const UNKNOWN_KM: f64 = 20_040.0;

/// A node that takes sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The node.
    pub node: NodeInfo,
    /// How far it is from the client, if both places are known.
    pub distance_km: Option<f64>,
}

/// Those of `nodes` that take sessions, the best first. Draining and full ones are left out.
///
/// A weighted shuffle (Efraimidis and Spirakis 2006): each node draws the logarithm of a number from
/// 0 to 1, divided by its weight, and the highest comes first.
pub fn rank(
    nodes: Vec<NodeInfo>,
    client: Option<(f64, f64)>,
    random: &mut impl Rng,
) -> Vec<Ranked> {
    let takes = |node: &NodeInfo| !node.draining && node.free_capacity() > 0;
    let place = |node: NodeInfo| {
        let places = client.zip(node.location);
        let distance_km = places.map(|(client, node)| distance_km(client, node));
        Ranked { node, distance_km }
    };
    let ranked: Vec<_> = nodes.into_iter().filter(takes).map(place).collect();
    let far = |it: &Ranked| it.distance_km.unwrap_or(UNKNOWN_KM);
    let nearest = ranked.iter().map(far).fold(f64::INFINITY, f64::min);
    let mut drawn: Vec<_> = ranked
        .into_iter()
        .map(|it| {
            let log_weight =
                f64::from(it.node.free_capacity()).ln() - (far(&it) - nearest) / AS_NEAR_KM;
            // The logarithm of the draw's distance from 1: the weight of a far node is no number.
            let draw: f64 = random.random_range(f64::MIN_POSITIVE..1.0);
            ((-draw.ln()).ln() - log_weight, it)
        })
        .collect();
    drawn.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    drawn.into_iter().map(|(_, it)| it).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const SEOUL: (f64, f64) = (37.6, 127.0);
    const BUSAN: (f64, f64) = (35.2, 129.1);
    const FRANKFURT: (f64, f64) = (50.1, 8.7);

    fn node(name: &str, location: Option<(f64, f64)>, load: u32) -> NodeInfo {
        NodeInfo {
            node: name.parse().expect("a node name"),
            url: String::new(),
            peer_url: String::new(),
            websocket_url: String::new(),
            region: String::new(),
            location,
            capacity: 1_000,
            load,
            draining: false,
        }
    }

    /// How often of a thousand times each node is named first.
    fn first(nodes: &[NodeInfo], client: Option<(f64, f64)>) -> Vec<u32> {
        let mut random = StdRng::seed_from_u64(1);
        let mut counts = vec![0; nodes.len()];
        for _ in 0..1_000 {
            let best = rank(nodes.to_vec(), client, &mut random).swap_remove(0).node.node;
            let index = nodes.iter().position(|node| node.node == best);
            counts[index.expect("is one of them")] += 1;
        }
        counts
    }

    #[test]
    fn the_near_come_before_the_far_and_the_unknown() {
        let nodes = [
            node("far", Some(FRANKFURT), 0),
            node("nowhere", None, 0),
            node("near", Some(SEOUL), 990),
        ];
        let ranked = rank(nodes.to_vec(), Some(BUSAN), &mut StdRng::seed_from_u64(1));
        let names: Vec<_> = ranked.iter().map(|it| it.node.node.as_str()).collect();
        assert_eq!(names, ["near", "far", "nowhere"]);
        assert!(ranked[0].distance_km.is_some_and(|km| (300.0..350.0).contains(&km)));
        assert_eq!(first(&nodes, Some(BUSAN)), [0, 0, 1_000]);
    }

    #[test]
    fn clients_that_ask_at_once_spread_as_there_is_room() {
        let near = |name, load| node(name, Some(SEOUL), load);
        for client in [None, Some(BUSAN)] {
            let even = first(&[near("a", 0), near("b", 0), near("c", 0)], client);
            assert!(even.iter().all(|count| (280..390).contains(count)), "{even:?}");
            let by_room = first(&[near("a", 0), near("b", 500), near("c", 999)], client);
            assert!((620..710).contains(&by_room[0]), "{by_room:?}");
            assert!(by_room[2] < 10, "{by_room:?}");
        }
    }

    #[test]
    fn who_takes_no_sessions_is_left_out() {
        let draining = NodeInfo { draining: true, ..node("draining", None, 0) };
        let full = node("full", Some(SEOUL), 1_000);
        assert_eq!(rank(vec![draining, full], Some(SEOUL), &mut rand::rng()), []);
    }
}
