//! Where clients are who do not say, by their addresses.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use maxminddb::{MaxMindDbError, Reader, geoip2};

/// A MaxMind database, held in memory. Cheap to clone.
#[derive(Clone)]
pub struct Places(Arc<Reader<Vec<u8>>>);

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Places").field(&self.0.metadata().database_type).finish()
    }
}

impl Places {
    /// Reads a database of cities.
    ///
    /// # Errors
    /// If there is none, or it is not whole; a retry will not help.
    pub fn open(file: &Path) -> Result<Self, MaxMindDbError> {
        Ok(Self(Arc::new(Reader::open_readfile(file)?)))
    }

    /// Latitude and longitude in degrees; nothing for addresses it does not know.
    pub fn locate(&self, address: IpAddr) -> Option<(f64, f64)> {
        let found = self.0.lookup(address.to_canonical()).and_then(|it| it.decode());
        let city: geoip2::City<'_> = found
            .inspect_err(|error| tracing::debug!(%error, "the place of an address is not known"))
            .ok()??;
        city.location.latitude.zip(city.location.longitude)
    }
}
