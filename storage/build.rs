//! Makes Cargo rebuild when a migration is added: migrations are compiled in.

fn main() {
    println!("cargo:rerun-if-changed=src/migrations");
}
