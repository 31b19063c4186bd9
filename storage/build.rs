//! Tells Cargo that the migrations are compiled in: a new file must not be missed.

fn main() {
    println!("cargo:rerun-if-changed=src/migrations");
}
