//! The status block's sections: golden bytes, round trips, and what does not parse.

use super::*;

fn identity() -> Result<Identity, crate::page::NameError> {
    Ok(Identity { cluster: "c".parse()?, node: "a".parse()?, versions: VersionRange { min: 1, max: 2 }, has_key: true })
}

fn word() -> Word {
    Word { incarnation: Incarnation(0x0102_0304_0506_0708), attempt: Attempt(9), nonce: Nonce([5; 16]) }
}

#[test]
fn identity_has_golden_bytes() -> Result<(), Box<dyn std::error::Error>> {
    let bytes = identity()?.encode();
    assert_eq!(&bytes[..16], b"HFSB\x01\x00\x01\x00\x01\x00\x02\x00\x00\x00\x00\x00");
    assert_eq!(&bytes[16..18], b"c\0");
    assert_eq!(&bytes[48..50], b"a\0");
    assert_eq!(bytes[124..], crc32c::crc32c(&bytes[..124]).to_le_bytes());
    assert_eq!(Identity::decode(&bytes)?, identity()?);
    Ok(())
}

#[test]
fn core_has_golden_bytes() -> Result<(), PageError> {
    let core = Core { word: word(), session: SessionId([7; 16]), leaving: true };
    let bytes = core.encode();
    assert_eq!(&bytes[..16], &[8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&bytes[16..48], [[5; 16], [7; 16]].as_flattened());
    assert_eq!(bytes[48], 1);
    assert_eq!(Core::decode(&bytes)?, core);
    Ok(())
}

#[test]
fn another_layout_is_named_even_if_its_checksum_is_elsewhere() -> Result<(), crate::page::NameError> {
    let mut bytes = identity()?.encode();
    bytes[4] = 9;
    assert_eq!(Identity::decode(&bytes), Err(PageError::Layout { found: 9, known: LAYOUT }));
    bytes[0] = b'X';
    assert!(matches!(Identity::decode(&bytes), Err(PageError::Magic { .. })));
    assert_eq!(Identity::decode(&[0; 128]), Err(PageError::Empty));
    Ok(())
}

#[test]
fn acks_round_trip_and_unknown_verdicts_do_not_parse() -> Result<(), PageError> {
    for verdict in Verdict::ALL {
        let ack = Ack {
            link_nonce: Nonce([1; 16]),
            incarnation: Incarnation(2),
            attempt: Attempt(3),
            own_attempt: Attempt(4),
            proof: Proof([6; 16]),
            verdict,
        };
        assert_eq!(Ack::decode(&ack.encode())?, ack);
    }
    let mut bytes = Ack::CLOSED.encode();
    bytes[56] = 99;
    checksum::seal(&mut bytes);
    assert_eq!(Ack::decode(&bytes), Err(PageError::Field { field: "verdict" }));
    Ok(())
}

#[test]
fn progress_keeps_its_ratio_however_large() {
    assert_eq!(Progress::new(40, 100).percent(), Some(40));
    assert_eq!(Progress::new(u64::MAX / 4, u64::MAX).percent(), Some(24));
    assert_eq!(Progress::new(5, 0).percent(), None);
    assert_eq!(Progress::new(7, 5).percent(), Some(100));
    let progress = Progress::new(40, 100);
    assert_eq!(Progress::from_word(progress.to_word()), progress);
}

#[test]
fn stage_names_are_cut_between_characters() -> Result<(), PageError> {
    let long = StageName::new(3, &"ä".repeat(40));
    assert_eq!(long.as_str(), "ä".repeat(24));
    assert_eq!(StageName::decode(&long.encode())?, long);
    assert_eq!(StageName::new(1, "a\nb").as_str(), "a b");
    Ok(())
}

proptest::proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: [u8; 32], offset in 0usize..480) {
        let mut page = [0u8; HANDSHAKE_BYTES + 32];
        page[offset.min(HANDSHAKE_BYTES)..][..32].copy_from_slice(&bytes);
        let mut whole = [0u8; HANDSHAKE_BYTES];
        whole.copy_from_slice(&page[..HANDSHAKE_BYTES]);
        for slot in LinkSlot::all() {
            proptest::prop_assert!(Snapshot::decode(&whole, slot).is_err());
        }
    }
}
