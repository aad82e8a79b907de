//! Memory that the partner may write at any moment is read by copies and words: there is no reference to its bytes.
use handfast::memory::Region;

fn slice(region: &Region) -> &[u8] {
    region.as_ref()
}

fn index(region: &Region) -> u8 {
    region[0]
}

fn main() {}
