//! What became of signals before this program began.

/// Whether a signal was ignored by whoever started this process, as `nohup` does with SIGHUP. Asked before a handler is registered.
pub(crate) fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| is_ignored_by(&status, signal))
}

fn is_ignored_by(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    u32::try_from(signal - 1).ok().and_then(|bit| mask.checked_shr(bit)).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_counts_from_one() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000004\n";
        let ignored: Vec<i32> = (-1..70).filter(|signal| is_ignored_by(status, *signal)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!is_ignored_by("SigIgn:\tnone\n", 1) && !is_ignored_by("", 1));
    }
}
