//! Password hashes: argon2id (RFC 9106) with the parameters that OWASP recommends: 19 MiB, two
//! passes, one lane.
//!
//! A hash takes about 20 ms of one core and 19 MiB. Hashes are computed on blocking threads, one
//! per core at a time; [`hash_queue`](super::hash_queue) bounds the waiting calls and orders them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use pabal_core::protocol::{Problem, ProblemCode};

use super::hash_queue::{Busy, HashQueue, Purpose};

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Computes and verifies password hashes, a bounded number at a time. Cloning is cheap; clones
/// share the bounds.
#[derive(Clone, Debug)]
pub struct Passwords {
    queue: HashQueue,
    /// The hash that the password of an unknown user is compared with.
    placeholder: Arc<str>,
    /// How many passwords were compared with a hash, the placeholder included.
    verified: Arc<AtomicU64>,
}

/// Why a hash could not be computed or read: a defect of the code or of the stored hash. Do not
/// retry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The parameters of the hash are not allowed.
    #[error("argon2 parameters: {0}")]
    Parameters(#[from] argon2::Error),
    /// A hash could not be computed, or the stored text is not one.
    #[error("password hash: {0}")]
    Hash(String),
}

impl Passwords {
    /// Runs up to `cores` hashes at a time, while up to `waiting` more calls wait for each purpose. Takes
    /// the time of one hash.
    ///
    /// # Errors
    /// [`PasswordError`]; do not retry.
    pub fn new(cores: usize, waiting: usize) -> Result<Self, PasswordError> {
        Ok(Self {
            queue: HashQueue::new(cores.max(1), waiting),
            placeholder: hash(&super::new_token())?.into(),
            verified: Arc::default(),
        })
    }

    /// The hash to store for `password` of a client at `from`, in PHC string format.
    ///
    /// # Errors
    /// `unavailable` when too many calls are waiting; retry.
    pub async fn hash(&self, from: IpAddr, password: String) -> Result<String, Problem> {
        self.run((Purpose::SignUp, from), move || hash(&password)).await
    }

    /// Whether `stored` is a hash of `password` of a client at `from`. Without a stored hash it returns false after the
    /// same time, so that the time does not reveal which users exist.
    ///
    /// # Errors
    /// `unavailable` when too many calls are waiting; retry.
    pub async fn verify(
        &self,
        from: IpAddr,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, Problem> {
        let exists = stored.is_some();
        let (placeholder, verified) = (Arc::clone(&self.placeholder), Arc::clone(&self.verified));
        let work = move || {
            let same = verify(&password, stored.as_deref().unwrap_or(&placeholder));
            verified.fetch_add(1, Ordering::Relaxed);
            same
        };
        Ok(self.run((Purpose::LogIn, from), work).await? && exists)
    }

    /// How many passwords were verified, those of unknown users included.
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(
        &self,
        (purpose, from): (Purpose, IpAddr),
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.queue.turn(purpose, from).await.map_err(|Busy| {
            Problem::new(ProblemCode::Unavailable, "too many log-ins are waiting; retry later")
                .retry_after(Duration::from_secs(1))
        })?;
        // The turn moves into the task: if the caller is dropped, it stays taken until the work ends.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        let failed = |error: &dyn std::error::Error| {
            tracing::error!(%error, "cannot compute or verify a password hash");
            Problem::new(ProblemCode::Internal, "the password could not be checked")
        };
        match done.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, PasswordError> {
    let hash = argon2()?
        .hash_password(password.as_bytes())
        .map_err(|error| PasswordError::Hash(error.to_string()))?;
    Ok(hash.to_string())
}

fn verify(password: &str, stored: &str) -> Result<bool, PasswordError> {
    let stored =
        PasswordHash::new(stored).map_err(|error| PasswordError::Hash(error.to_string()))?;
    match argon2()?.verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(PasswordError::Hash(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn only_the_same_password_is_accepted() {
        let passwords = Passwords::new(2, 8).expect("parameters");
        let stored = passwords.hash(HERE, "correct horse".into()).await.expect("hash");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let fits = |password: &str| passwords.verify(HERE, password.into(), Some(stored.clone()));
        assert!(fits("correct horse").await.expect("checked"));
        assert!(!fits("correct house").await.expect("checked"));
        assert!(!passwords.verify(HERE, "any".into(), None).await.expect("checked"));
    }

    #[tokio::test]
    async fn a_call_beyond_the_bound_is_refused_with_a_time_to_retry() {
        let passwords = Passwords::new(1, 0).expect("parameters");
        let _turn = passwords.queue.turn(Purpose::LogIn, HERE).await.expect("free");
        let refused = passwords.hash(HERE, "whatever".into()).await.expect_err("no turn left");
        assert_eq!(refused.code, ProblemCode::Unavailable);
        assert!(refused.retry_after.is_some());
    }
}
