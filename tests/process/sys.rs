//! The system calls that these tests need and the standard library has not: one unsafe call each.
#![allow(unsafe_code)]

/// Ends this process by SIGKILL, now.
pub(crate) fn kill_self() -> ! {
    // SAFETY:
    // - thread: sends a signal to this very process; touches no memory.
    unsafe { libc::kill(std::process::id() as i32, libc::SIGKILL) };
    loop {
        std::thread::yield_now();
    }
}

/// How a forked child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

/// Runs `work` in a forked child, whose first thread this is, and waits for it. Memory of handfast's is not in the child: it makes its own.
pub(crate) fn fork_and_wait(work: impl FnOnce() -> i32) -> Ended {
    // SAFETY:
    // - thread: the child begins with this thread alone; it touches only memory that no other thread had locked (glibc readies its allocator
    //   for forks).
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        exit_process(outcome.unwrap_or(101));
    }
    let mut status = 0;
    // SAFETY:
    // - live: `status` outlives the call.
    // - alias: `status` is ours alone.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child, "waitpid: {}", std::io::Error::last_os_error());
    if libc::WIFSIGNALED(status) {
        Ended::Signal(libc::WTERMSIG(status))
    } else {
        Ended::Code(libc::WEXITSTATUS(status))
    }
}

/// Forks a child that holds all this process has, until the standard input has no writer left.
pub(crate) fn fork_and_live_on() {
    /// It ends by itself after this, should the writer never close.
    const SECONDS_MAX: u32 = 120;
    // SAFETY:
    // - thread: the child has this thread alone, and makes plain system calls until it ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child > 0 {
        return;
    }
    // SAFETY:
    // - thread: a plain system call.
    unsafe { libc::alarm(SECONDS_MAX) };
    let mut byte = [0u8; 1];
    loop {
        // SAFETY:
        // - live, alias, bounds: one byte of a local that outlives the call.
        let read = unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) };
        if read <= 0 {
            exit_thread(0);
        }
    }
}

/// Sends a signal to a child that nobody has waited for yet.
pub(crate) fn signal(process: u32, signal: i32) {
    // SAFETY:
    // - thread: touches no memory; the number is of a child that is not reaped yet.
    let outcome = unsafe { libc::kill(process as i32, signal) };
    assert_eq!(outcome, 0, "kill: {}", std::io::Error::last_os_error());
}

/// Whether a child is stopped by now; does not reap one that has ended.
pub(crate) fn is_stopped(process: u32) -> bool {
    // SAFETY:
    // - bounds: plain words, for which all zeroes is a value.
    let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let wanted = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY:
    // - live, alias: `found` is a local that outlives the call.
    let outcome = unsafe { libc::waitid(libc::P_PID, process, &raw mut found, wanted) };
    assert_eq!(outcome, 0, "waitid: {}", std::io::Error::last_os_error());
    // SAFETY:
    // - bounds: the kernel wrote a child's fields, or left the zeroes.
    unsafe { found.si_pid() != 0 }
}

/// From here on the kernel ends this process by SIGSYS at every system call of this thread but `write` and `exit`, of the thread or the process.
///
/// By a filter: the strict mode of old takes the clock's counter (`rdtsc`) away too, which is no system call.
pub(crate) fn allow_no_system_calls() -> std::io::Result<()> {
    let mut filter = [
        // The first word of what the filter is shown is the call's number.
        instruction(LOAD, NONE, 0),
        instruction(EQUAL, (3, 0), libc::SYS_write as u32),
        instruction(EQUAL, (2, 0), libc::SYS_exit_group as u32),
        instruction(EQUAL, (1, 0), libc::SYS_exit as u32),
        instruction(GIVE, NONE, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(GIVE, NONE, libc::SECCOMP_RET_ALLOW),
    ];
    self::filter(&mut filter)
}

/// From here on a system call of this process fails with EPERM, as under a container's profile.
pub(crate) fn refuse_call(number: i64) -> std::io::Result<()> {
    filter(&mut [
        instruction(LOAD, NONE, 0),
        instruction(EQUAL, (1, 0), number as u32),
        instruction(GIVE, NONE, libc::SECCOMP_RET_ALLOW),
        instruction(GIVE, NONE, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ])
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const GIVE: u32 = libc::BPF_RET | libc::BPF_K;
const NONE: (u8, u8) = (0, 0);

/// One instruction of a filter; `jump`: how many are passed over where it holds, and where it does not.
fn instruction(code: u32, jump: (u8, u8), value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump.0, jf: jump.1, k: value }
}

/// Puts a filter before this thread's system calls.
fn filter(filter: &mut [libc::sock_filter]) -> std::io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY:
    // - thread: this thread gains no rights by `execve` any more; touches no memory.
    let unprivileged = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY:
    // - live: `filter` and `program` outlive the call, which copies them.
    // - bounds: `len` is the filter's length.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if unprivileged == 0 && filtered == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Whoever has no right over every process sees nothing of this one from here on.
pub(crate) fn hide() {
    // SAFETY:
    // - thread: sets an attribute of this process; touches no memory.
    let hidden = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    assert_eq!(hidden, 0, "prctl: {}", std::io::Error::last_os_error());
}

/// The user whose rights this process has.
pub(crate) fn user() -> u32 {
    // SAFETY:
    // - thread: a plain system call.
    unsafe { libc::geteuid() }
}

/// No file of this process grows beyond so many bytes.
pub(crate) fn limit_files(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY:
    // - live: `limit` outlives the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(limited, 0, "setrlimit: {}", std::io::Error::last_os_error());
}

/// Ends this process with all of its threads, and runs nothing more.
pub(crate) fn exit_process(code: i32) -> ! {
    loop {
        // SAFETY:
        // - thread: ends every thread of the process; nothing runs after it.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
}

/// Ends this thread by the plain `exit` system call (that of the C library is `exit_group`).
pub(crate) fn exit_thread(code: i32) -> ! {
    loop {
        // SAFETY:
        // - thread: ends the calling thread; nothing runs on it after that.
        unsafe { libc::syscall(libc::SYS_exit, code) };
    }
}

/// One `write` to stderr, and nothing else: a mark in a trace of system calls.
pub(crate) fn mark(text: &str) {
    // SAFETY:
    // - live: `text` outlives the call.
    // - bounds: exactly its own length is told.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

/// Waits until a terminal behind stdout has sent what was written to it.
pub(crate) fn drain_stdout() {
    // SAFETY:
    // - thread: waits for a descriptor of this process; touches no memory.
    unsafe { libc::tcdrain(1) };
}

/// A system call with no effect, for proofs that a proof can fail.
pub(crate) fn some_system_call() {
    // SAFETY:
    // - thread: asks for the parent's number; touches no memory.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

/// Takes the pages out of a file without changing its length.
pub(crate) fn punch_hole(file: &std::fs::File, bytes: u64) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY:
    // - live: `file` is open throughout; no memory of this process is passed.
    let outcome = unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, bytes as i64) };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
