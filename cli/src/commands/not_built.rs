//! Commands that a smaller build leaves out. Each is still known by name, so that the program can say what
//! is missing and how to have it.

/// A command that this build leaves out.
#[derive(Debug, thiserror::Error)]
#[error(
    "`pabal {0}` is not part of this build: build the program with all features \
     (`cargo build --release -p pabal-cli`)"
)]
pub(crate) struct NotBuilt(pub(crate) &'static str);

/// Any arguments: the command refuses them all.
#[cfg(not(all(feature = "chat", feature = "lab", feature = "load")))]
#[derive(clap::Args, Debug)]
pub(crate) struct Flags {
    /// Ignored.
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    ignored: Vec<std::ffi::OsString>,
}
