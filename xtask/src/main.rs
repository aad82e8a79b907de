//! Developer commands of handfast.
fn main() {}
