//! A slice of a buffer cannot be kept while the buffer is in flight.
use handfast::fabric::{Port, Refused, WorkRequest};
use handfast::memory::Buffer;

fn post<P: Port>(port: &mut P, from: &P::Remote, buffer: Buffer) -> Result<u8, Refused> {
    let bytes = buffer.as_slice();
    port.post_read(WorkRequest::signalled(1), buffer, from, 0)?;
    Ok(bytes[0])
}

fn main() {}
