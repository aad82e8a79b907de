//! An operating-system error number, kept with its name.

use std::fmt;

/// An operating-system error number (`errno`), shown with its C name and its text, and with the limit that it tells of where that has a
/// name.
///
/// A newtype and not an enum: the kernel may return numbers that this version does not know.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Wraps a raw error number.
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number of the calling thread's last failed system call.
    pub fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// The raw number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Whether it tells of a shortage, or of a state, that can pass while nobody does anything about it.
    pub(crate) const fn is_passing(self) -> bool {
        matches!(
            self.0,
            libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::EAGAIN
                | libc::EINTR
                | libc::ENOBUFS
                | libc::ENOSPC
                | libc::EDQUOT
                | libc::ENOLCK
                | libc::ESTALE
        )
    }

    /// The C name, as in `errno(3)`; `errno N` has no name here.
    pub const fn name(self) -> &'static str {
        match self.0 {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::ESRCH => "ESRCH",
            libc::EINTR => "EINTR",
            libc::EIO => "EIO",
            libc::ENXIO => "ENXIO",
            libc::E2BIG => "E2BIG",
            libc::EBADF => "EBADF",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EFAULT => "EFAULT",
            libc::EBUSY => "EBUSY",
            libc::EEXIST => "EEXIST",
            libc::EXDEV => "EXDEV",
            libc::ENODEV => "ENODEV",
            libc::ENOTDIR => "ENOTDIR",
            libc::EISDIR => "EISDIR",
            libc::EINVAL => "EINVAL",
            libc::ENFILE => "ENFILE",
            libc::EMFILE => "EMFILE",
            libc::ENOTTY => "ENOTTY",
            libc::ETXTBSY => "ETXTBSY",
            libc::EFBIG => "EFBIG",
            libc::ENOSPC => "ENOSPC",
            libc::ESPIPE => "ESPIPE",
            libc::EROFS => "EROFS",
            libc::EMLINK => "EMLINK",
            libc::EPIPE => "EPIPE",
            libc::EDOM => "EDOM",
            libc::ERANGE => "ERANGE",
            libc::EDEADLK => "EDEADLK",
            libc::ENOLCK => "ENOLCK",
            libc::ENOSYS => "ENOSYS",
            libc::ENOTEMPTY => "ENOTEMPTY",
            libc::ELOOP => "ELOOP",
            libc::ENODATA => "ENODATA",
            libc::ETIME => "ETIME",
            libc::EREMOTEIO => "EREMOTEIO",
            libc::EPROTO => "EPROTO",
            libc::EBADMSG => "EBADMSG",
            libc::EBADFD => "EBADFD",
            libc::ENOTSOCK => "ENOTSOCK",
            libc::EMSGSIZE => "EMSGSIZE",
            libc::ENOPROTOOPT => "ENOPROTOOPT",
            libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
            libc::EAFNOSUPPORT => "EAFNOSUPPORT",
            libc::EADDRINUSE => "EADDRINUSE",
            libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
            libc::ENETDOWN => "ENETDOWN",
            libc::ENETUNREACH => "ENETUNREACH",
            libc::ENETRESET => "ENETRESET",
            libc::ECONNABORTED => "ECONNABORTED",
            libc::ECONNRESET => "ECONNRESET",
            libc::ENOBUFS => "ENOBUFS",
            libc::EISCONN => "EISCONN",
            libc::ENOTCONN => "ENOTCONN",
            libc::ESHUTDOWN => "ESHUTDOWN",
            libc::EHOSTDOWN => "EHOSTDOWN",
            libc::EHOSTUNREACH => "EHOSTUNREACH",
            libc::EALREADY => "EALREADY",
            libc::EINPROGRESS => "EINPROGRESS",
            libc::ESTALE => "ESTALE",
            libc::ECANCELED => "ECANCELED",
            libc::EOWNERDEAD => "EOWNERDEAD",
            libc::EHWPOISON => "EHWPOISON",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            libc::ETIMEDOUT => "ETIMEDOUT",
            libc::ECONNREFUSED => "ECONNREFUSED",
            libc::EOVERFLOW => "EOVERFLOW",
            libc::ENAMETOOLONG => "ENAMETOOLONG",
            libc::EDQUOT => "EDQUOT",
            _ => "errno",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The standard library says the number once more at the end.
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or(&text);
        write!(formatter, "{} ({}): {text}", self.name(), self.0)?;
        formatter.write_str(match self.0 {
            libc::EMFILE => " (raise this process's limit of descriptors: `ulimit -n`, LimitNOFILE=)",
            libc::ENFILE => " (raise this machine's limit of open files: `sysctl fs.file-max`)",
            libc::EDQUOT => " (the user's quota: `quota`)",
            _ => "",
        })
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name(), self.0)
    }
}

impl From<&std::io::Error> for Errno {
    /// The number inside; EIO where the error did not come from the system.
    fn from(error: &std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_name_number_and_text_once() {
        assert_eq!(Errno::new(libc::ENOSPC).to_string(), "ENOSPC (28): No space left on device");
        assert_eq!(Errno::new(libc::EADDRINUSE).name(), "EADDRINUSE");
        assert!(Errno::new(4000).to_string().starts_with("errno (4000): "));
    }

    #[test]
    fn an_error_without_a_number_counts_as_input_or_output() {
        assert_eq!(Errno::from(&std::io::Error::other("made up")), Errno::new(libc::EIO));
        assert_eq!(Errno::from(&std::io::Error::from_raw_os_error(libc::EPERM)), Errno::new(libc::EPERM));
    }
}
