//! The order in which nodes are listed to a client: near nodes before far ones, and nodes at about
//! the same distance in a random order weighted by free capacity. Clients that take the first node
//! therefore spread, although the loads in the registry are seconds old.

use pabal_core::ports::NodeInfo;
use rand::{Rng, RngExt};

use super::distance_km;

/// The distance over which the weight of a node falls to 1/e. Light in fibre takes a millisecond
/// for it, both ways.
const WEIGHT_SCALE_KM: f64 = 100.0;
/// The distance assumed for a node without a location: the largest on Earth.
const UNKNOWN_KM: f64 = 20_040.0;

/// A node that accepts sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The node.
    pub node: NodeInfo,
    /// The distance to the client, if both locations are known.
    pub distance_km: Option<f64>,
}

/// The nodes that accept sessions, best first. Draining and full nodes are left out.
///
/// A weighted shuffle (Efraimidis and Spirakis 2006): each node draws the logarithm of a random
/// number from 0 to 1, divided by its weight, and the highest value comes first.
pub fn rank(
    nodes: Vec<NodeInfo>,
    client: Option<(f64, f64)>,
    random: &mut impl Rng,
) -> Vec<Ranked> {
    let accepts = |node: &NodeInfo| !node.draining && node.free_capacity() > 0;
    let measure = |node: NodeInfo| {
        let locations = client.zip(node.location);
        let distance_km = locations.map(|(client, node)| distance_km(client, node));
        Ranked { node, distance_km }
    };
    let ranked: Vec<_> = nodes.into_iter().filter(accepts).map(measure).collect();
    let distance = |it: &Ranked| it.distance_km.unwrap_or(UNKNOWN_KM);
    let nearest = ranked.iter().map(distance).fold(f64::INFINITY, f64::min);
    let mut drawn: Vec<_> = ranked
        .into_iter()
        .map(|it| {
            let further_km = distance(&it) - nearest;
            let log_weight = f64::from(it.node.free_capacity()).ln() - further_km / WEIGHT_SCALE_KM;
            // Computed in logarithms: the weight of a far node itself would underflow to zero.
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

    /// How often in a thousand rankings each node comes first.
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
    fn near_nodes_come_before_far_ones_and_ones_without_a_location() {
        let nodes = [
            node("far", Some(FRANKFURT), 0),
            node("unknown", None, 0),
            node("near", Some(SEOUL), 990),
        ];
        let ranked = rank(nodes.to_vec(), Some(BUSAN), &mut StdRng::seed_from_u64(1));
        let names: Vec<_> = ranked.iter().map(|it| it.node.node.as_str()).collect();
        assert_eq!(names, ["near", "far", "unknown"]);
        assert!(ranked[0].distance_km.is_some_and(|km| (300.0..350.0).contains(&km)));
        assert_eq!(first(&nodes, Some(BUSAN)), [0, 0, 1_000]);
    }

    #[test]
    fn clients_spread_in_proportion_to_free_capacity() {
        let near = |name, load| node(name, Some(SEOUL), load);
        for client in [None, Some(BUSAN)] {
            let even = first(&[near("a", 0), near("b", 0), near("c", 0)], client);
            assert!(even.iter().all(|count| (280..390).contains(count)), "{even:?}");
            let by_capacity = first(&[near("a", 0), near("b", 500), near("c", 999)], client);
            assert!((620..710).contains(&by_capacity[0]), "{by_capacity:?}");
            assert!(by_capacity[2] < 10, "{by_capacity:?}");
        }
    }

    #[test]
    fn draining_and_full_nodes_are_left_out() {
        let draining = NodeInfo { draining: true, ..node("draining", None, 0) };
        let full = node("full", Some(SEOUL), 1_000);
        assert_eq!(rank(vec![draining, full], Some(SEOUL), &mut rand::rng()), []);
    }
}
