//! The Lua scripts. A script is called by its hash; its source is sent when the server does not
//! know the hash.

use std::fmt::Write;
use std::sync::LazyLock;

use redis::Cmd;
use sha1::{Digest, Sha1};

/// A script in `lua/`.
pub(super) struct Script {
    source: &'static str,
    hash: LazyLock<String>,
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)+) => {$(
        pub(super) static $name: Script = Script {
            source: include_str!(concat!("lua/", $file)),
            hash: LazyLock::new(|| hash_of(include_str!(concat!("lua/", $file)))),
        };
    )+};
}

scripts! {
    REQUIRE_PARTITIONS = "require_partitions.lua";
    APPEND = "append.lua";
    TRIM = "trim.lua";
    INBOX_OPEN = "inbox_open.lua";
    INBOX_SEND = "inbox_send.lua";
    INBOX_CONFIRM = "inbox_confirm.lua";
    INBOX_FORGET = "inbox_forget.lua";
    LEASED_BEGIN = "leased_begin.lua";
    LEASED_RENEW = "leased_renew.lua";
    LEASED_JOIN = "leased_join.lua";
    LEASED_LEAVE = "leased_leave.lua";
    LEASED_LOCATE = "leased_locate.lua";
    REGISTRY_HEARTBEAT = "registry_heartbeat.lua";
    REGISTRY_NODES = "registry_nodes.lua";
    REGISTRY_LEASE = "registry_lease.lua";
    PUSH_ENQUEUE = "push_enqueue.lua";
    PUSH_CONFIRM = "push_confirm.lua";
}

fn hash_of(source: &str) -> String {
    let mut hash = String::with_capacity(40);
    for byte in Sha1::digest(source) {
        // Writing to a string cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

impl Script {
    /// The command that runs this script on `keys`, which must be in one slot, by its hash or with
    /// its source.
    pub(super) fn call(&self, as_source: bool, keys: &[&str], args: &[&[u8]]) -> Cmd {
        let size = args.iter().map(|arg| arg.len() + 16).sum::<usize>();
        let mut call = Cmd::with_capacity(3 + keys.len() + args.len(), 256 + size);
        if as_source {
            call.arg("EVAL").arg(self.source);
        } else {
            call.arg("EVALSHA").arg(self.hash.as_str());
        }
        call.arg(keys.len());
        for key in keys {
            call.arg(*key);
        }
        for arg in args {
            call.arg(*arg);
        }
        call
    }
}
