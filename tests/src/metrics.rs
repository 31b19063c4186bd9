//! The metrics of a node, read from its administration listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait;

/// A snapshot of the metrics page: values by series, as `name{label="value"}`.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the page of the administration listener at `address`.
    ///
    /// # Panics
    /// If there is no listener.
    pub async fn read(address: SocketAddr) -> Self {
        let page = wait::soon("the metrics page", Self::try_read(address)).await;
        page.expect("an administration listener")
    }

    /// The same for a node that may be down.
    ///
    /// # Errors
    /// If the node cannot be reached.
    pub async fn try_read(address: SocketAddr) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        let series = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Self(series.collect()))
    }

    /// The value of a series.
    ///
    /// # Panics
    /// If there is no such series.
    pub fn get(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no series {series} in {:?}", self.0))
    }

    /// The resident memory in MiB.
    pub fn mebibytes(&self) -> f64 {
        self.get("process_resident_memory_bytes") / f64::from(1 << 20)
    }

    /// How many connections read a session by `transport`.
    pub fn attached(&self, transport: &str) -> f64 {
        self.get(&format!("pabal_transport_attached{{transport=\"{transport}\"}}"))
    }
}
