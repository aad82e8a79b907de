//! A buffer has one owner: there are no copies of the handle.
use handfast::memory::Buffer;

fn copy(buffer: &Buffer) -> Buffer {
    Clone::clone(buffer)
}

fn twice<T: Clone>(value: T) -> (T, T) {
    (value.clone(), value)
}

fn main() {
    let _ = twice::<Buffer>;
    let _ = copy;
}
