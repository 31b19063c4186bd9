//! The locations of addresses, for clients that send no coordinates.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use maxminddb::{MaxMindDbError, Reader, geoip2};

/// A MaxMind database of cities (GeoIP2 or GeoLite2), held in memory. Cloning is cheap.
#[derive(Clone)]
pub struct GeoDatabase(Arc<Reader<Vec<u8>>>);

impl std::fmt::Debug for GeoDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GeoDatabase").field(&self.0.metadata().database_type).finish()
    }
}

impl GeoDatabase {
    /// Reads the database file, blocking the thread.
    ///
    /// # Errors
    /// If the file is missing or damaged. Do not retry.
    pub fn open(file: &Path) -> Result<Self, MaxMindDbError> {
        Ok(Self(Arc::new(Reader::open_readfile(file)?)))
    }

    /// The latitude and longitude of an address in degrees, if the database has it.
    pub fn locate(&self, address: IpAddr) -> Option<(f64, f64)> {
        let found = self.0.lookup(address.to_canonical()).and_then(|it| it.decode());
        let city: geoip2::City<'_> = found
            .inspect_err(
                |error| tracing::debug!(%error, "cannot look up the location of an address"),
            )
            .ok()??;
        city.location.latitude.zip(city.location.longitude)
    }
}
