//! Locations of clients by address: discovery with a MaxMind database that the tests create.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use pabal_gateway::app::{App, BuildError};
use pabal_gateway::config::{Config, ServeFlags};
use serde_json::Value;

use crate::support::{Node, reply};

/// A database of networks, each with a location, in the format of
/// <https://maxmind.github.io/MaxMind-DB/>, version 2.0, with records of 24 bits.
fn database(networks: &[(Ipv4Addr, usize, f64, f64)]) -> Vec<u8> {
    let mut data = Vec::new();
    // The search tree: each node has the next step for a bit of 0 and for a bit of 1.
    let mut nodes: Vec<[Step; 2]> = vec![[Step::None; 2]];
    for &(network, bits, latitude, longitude) in networks {
        let location = data.len();
        map(&mut data, 1);
        text(&mut data, "location");
        map(&mut data, 2);
        for (name, degrees) in [("latitude", latitude), ("longitude", longitude)] {
            text(&mut data, name);
            data.push(3 << 5 | 8);
            data.extend(f64::to_be_bytes(degrees));
        }
        let mut node = 0;
        for bit in 0..bits {
            let side = (network.to_bits() >> (31 - bit) & 1) as usize;
            if bit + 1 == bits {
                nodes[node][side] = Step::Location(location);
            } else if let Step::Node(next) = nodes[node][side] {
                node = next;
            } else {
                let next = nodes.len();
                nodes[node][side] = Step::Node(next);
                nodes.push([Step::None; 2]);
                node = next;
            }
        }
    }
    let mut file = Vec::new();
    for step in nodes.iter().flatten() {
        let record = match step {
            Step::Node(number) => *number,
            Step::None => nodes.len(),
            Step::Location(offset) => nodes.len() + 16 + offset,
        };
        file.extend(&u32::try_from(record).unwrap().to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    map(&mut file, 9);
    text(&mut file, "node_count");
    file.push(6 << 5 | 4);
    file.extend(u32::try_from(nodes.len()).unwrap().to_be_bytes());
    for (name, number) in [
        ("record_size", 24),
        ("ip_version", 4),
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
    ] {
        text(&mut file, name);
        file.push(5 << 5 | 2);
        file.extend(u16::to_be_bytes(number));
    }
    text(&mut file, "build_epoch");
    // An extended type: 64 bits.
    file.extend([8, 9 - 7]);
    file.extend(1_800_000_000_u64.to_be_bytes());
    text(&mut file, "database_type");
    text(&mut file, "Test-City");
    text(&mut file, "languages");
    // An extended type: an empty array.
    file.extend([0, 11 - 7]);
    text(&mut file, "description");
    map(&mut file, 0);
    file
}

#[derive(Clone, Copy)]
enum Step {
    None,
    Node(usize),
    Location(usize),
}

fn map(out: &mut Vec<u8>, entries: u8) {
    out.push(7 << 5 | entries);
}

fn text(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap();
    if length < 29 {
        out.push(2 << 5 | length);
    } else {
        out.extend([2 << 5 | 29, length - 29]);
    }
    out.extend(text.as_bytes());
}

fn written(folder: &tempfile::TempDir, content: &[u8]) -> PathBuf {
    let file = folder.path().join("cities.mmdb");
    std::fs::write(&file, content).unwrap();
    file
}

#[tokio::test]
async fn clients_without_coordinates_are_located_by_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(
        &folder,
        &database(&[
            (Ipv4Addr::new(203, 0, 113, 0), 24, 35.1796, 129.0756),
            (Ipv4Addr::new(198, 51, 100, 128), 25, 50.1109, 8.6821),
        ]),
    );
    let node = Node::start_with(|config| {
        config.node.latitude = Some(37.5665);
        config.node.longitude = Some(126.978);
        config.node.location_database = Some(file);
        config.server.trusted_proxies = vec!["127.0.0.1".to_owned().try_into().unwrap()];
    })
    .await;
    let distance = async |client: &str, query: &str| {
        let url = format!("{}/v1/discover{query}", node.url);
        let request = node.http.get(url).header("x-forwarded-for", client);
        reply(request).await.json(200)["nodes"][0]["distance_km"].clone()
    };
    let about = |distance: Value, km: f64| {
        distance.as_f64().is_some_and(|found| (found - km).abs() < km / 100.0)
    };
    assert!(about(distance("203.0.113.7", "").await, 325.0), "Busan");
    assert!(about(distance("198.51.100.200", "").await, 8_560.0), "Frankfurt");
    assert_eq!(distance("198.51.100.1", "").await, Value::Null, "in no network of the database");
    assert_eq!(distance("2001:db8::1", "").await, Value::Null, "not an IPv4 address");
    // Coordinates of the client override the database.
    assert!(about(distance("198.51.100.200", "?lat=35.1796&lon=129.0756").await, 325.0));
    node.stop().await;
}

#[tokio::test]
async fn an_unusable_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = database(&[(Ipv4Addr::new(203, 0, 113, 0), 24, 1.0, 2.0)]);
    let files = [folder.path().join("none.mmdb"), written(&folder, &damaged[..damaged.len() - 40])];
    for file in files {
        let data = folder.path().join("data");
        let flags = ServeFlags { data: Some(data.clone()), ..ServeFlags::default() };
        let mut config = Config::load(&flags, []).unwrap();
        config.node.location_database = Some(file.clone());
        let refused = App::build(&config, "127.0.0.1:1".parse().unwrap(), None).await;
        let error = refused.map(drop).unwrap_err();
        assert!(matches!(error, BuildError::GeoDatabase { .. }), "{error}");
        let line = error.to_string();
        assert!(line.starts_with("node.location_database: "), "{line}");
        assert!(line.contains(file.to_str().unwrap()) && !line.contains('\n'), "{line}");
        assert!(!data.exists(), "no store was opened");
    }
}
